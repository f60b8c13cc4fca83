"""Unpacks the zip of a function, starts its bootstrap against a stand-in for the runtime API, and asks for its health."""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import zipfile

EVENT = {
    "version": "2.0", "rawPath": "/health", "rawQueryString": "", "headers": {"host": "mcp.example.com"}, "isBase64Encoded": False,
    "requestContext": {
        "domainName": "abc.lambda-url.eu-west-1.on.aws", "stage": "$default",
        "http": {"method": "GET", "path": "/health", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7"},
    },
}
answer = {}
done = threading.Event()


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self):
        Api.asked += 1
        if Api.asked > 1:
            done.wait(60)
            self.send_response(410)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = json.dumps(EVENT).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        self.send_header("Lambda-Runtime-Deadline-Ms", "9999999999999")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        answer.update(path=self.path, mode=self.headers.get("Lambda-Runtime-Function-Response-Mode"), body=body)
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        done.set()

    def log_message(self, *_):
        pass


with tempfile.TemporaryDirectory() as folder:
    with zipfile.ZipFile(sys.argv[1]) as archive:
        for entry in archive.infolist():
            os.chmod(archive.extract(entry, folder), entry.external_attr >> 16 & 0o777)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    process = subprocess.Popen([os.path.join(folder, "bootstrap")], env={
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}", "LAMBDA_TASK_ROOT": folder,
        "PUBLIC_URL": "https://mcp.example.com", "MCP_TARGET_HOST": "127.0.0.1", "MCP_TARGET_PORT": "9",
        "MCP_API_KEY": "0123456789abcdef0123456789abcdef", "MCP_ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    })
    try:
        answered = done.wait(60)
    finally:
        process.terminate()
        process.wait(10)
    assert answered, "the function did not answer"
    head, _, body = answer["body"].partition(b"\0" * 8)
    head = json.loads(head)
    print(answer["path"], answer["mode"], head, body)
    assert answer["path"].endswith("/response") and answer["mode"] == "streaming" and head["statusCode"] == 200
