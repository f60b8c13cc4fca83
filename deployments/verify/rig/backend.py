#!/usr/bin/env python3
"""An MCP server and a few plain pages for checks: what it sends and when is in the hands of whoever asks.

usage: backend.py PORT

  POST /mcp            initialize, tools/list, tools/call: `echo`, and `wait` (an event stream: one event, then silence
                       until /release was called with the same ticket, then the result)
  GET  /drip?ticket=T  plain text: a first line, then silence until /release, then a second line
  GET  /ws             a WebSocket that sends one frame back
  GET  /whoami         the headers that arrived, as JSON
  POST /release?ticket=T
"""
import base64
import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PATIENCE = 30  # seconds that a stream waits for its release before it breaks off
tickets: dict[str, threading.Event] = {}
guard = threading.Lock()


def ticket(name: str) -> threading.Event:
    with guard:
        return tickets.setdefault(name, threading.Event())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def whole(self, status: int, body: bytes, kind: str = "application/json", **headers: str):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, data: bytes):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def pieces(self, kind: str, first: bytes, name: str, second: bytes):
        """Sends `first`, and `second` only when somebody has called /release."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(first)
        if not ticket(name).wait(PATIENCE):
            self.close_connection = True
            return
        self.chunk(second)
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/drip":
            name = parse_qs(url.query)["ticket"][0]
            self.pieces("text/plain", b"first\n", name, b"second\n")
        elif url.path == "/ws":
            self.web_socket()
        elif url.path == "/health":
            self.whole(200, b'{"status":"healthy"}')
        elif url.path == "/mcp":
            self.whole(405, b"{}", Allow="POST")
        else:
            self.whole(200, json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())

    def web_socket(self):
        key = self.headers.get("Sec-WebSocket-Key", "")
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        head = self.rfile.read(2)
        length = head[1] & 0x7F
        mask = self.rfile.read(4)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.rfile.read(length)))
        self.wfile.write(bytes([0x81, length]) + data)
        self.wfile.flush()
        self.close_connection = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        if url.path == "/release":
            ticket(parse_qs(url.query)["ticket"][0]).set()
            return self.whole(200, b"{}")
        call = json.loads(body)
        if "id" not in call:
            return self.whole(202, b"")
        if call["method"] == "initialize":
            version = call["params"]["protocolVersion"]
            result = {"protocolVersion": version, "capabilities": {"tools": {}},
                      "serverInfo": {"name": "rig", "version": "1"}}
            return self.answer(call["id"], result, Mcp_Session_Id="rig-session")
        if call["method"] == "tools/list":
            schema = {"type": "object"}
            return self.answer(call["id"], {"tools": [{"name": name, "inputSchema": schema} for name in ("echo", "wait")]})
        if call["method"] == "tools/call":
            asked = call["params"]["arguments"]
            result = {"content": [{"type": "text", "text": json.dumps(asked)}]}
            if call["params"]["name"] == "wait":
                note = {"jsonrpc": "2.0", "method": "notifications/message",
                        "params": {"level": "info", "data": "first"}}
                done = {"jsonrpc": "2.0", "id": call["id"], "result": result}
                return self.pieces("text/event-stream", event(note), asked["ticket"], event(done))
            return self.answer(call["id"], result)
        return self.whole(200, json.dumps({"jsonrpc": "2.0", "id": call["id"],
                                           "error": {"code": -32601, "message": "unknown method"}}).encode())

    def do_DELETE(self):
        self.whole(200, b"")

    def answer(self, call_id, result, **headers: str):
        self.whole(200, json.dumps({"jsonrpc": "2.0", "id": call_id, "result": result}).encode(), **headers)


def event(message: dict) -> bytes:
    return b"event: message\ndata: " + json.dumps(message).encode() + b"\n\n"


if __name__ == "__main__":
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
