"""What a proxy stands between, on loopback, for checks of what it measures: an identity provider that signs everybody in
at once, an MCP server whose tools succeed, fail and take time, a web page, and a collector of traces."""

import base64
import hashlib
import json
import secrets
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def send(self, status, body=b"", kind="application/json", **headers):
        body = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Listens at once; `stop` cuts off what is open, as a process that is killed does."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, handler, port=0):
        self.open = set()
        super().__init__(("127.0.0.1", port), handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass  # a client that went away, or a stream that `stop` cut

    def stop(self):
        self.shutdown()
        self.server_close()
        for request in list(self.open):
            try:
                request.shutdown(2)
                request.close()
            except OSError:
                pass


class Provider(Server):
    """OpenID Connect: code flow, PKCE, RS256 by openssl."""

    def __init__(self, folder):
        self.key = str(folder / "provider.pem")
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, capture_output=True)
        modulus = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], check=True, capture_output=True, text=True).stdout
        self.modulus = bytes.fromhex(modulus.strip().split("=")[1])
        self.codes, self.broken = {}, False
        super().__init__(ProviderHandler)

    def sign(self, claims):
        text = b64(json.dumps({"alg": "RS256", "kid": "k1", "typ": "JWT"}).encode()) + "." + b64(json.dumps(claims).encode())
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True, capture_output=True).stdout
        return text + "." + b64(signed)

    def claims(self, **more):
        now = int(time.time())
        return {"iss": self.url, "sub": "ann", "aud": "mcp-proxy", "iat": now, "exp": now + 600, "email": "ann@example.com", "name": "Ann", "groups": ["staff"], **more}


class ProviderHandler(Handler):
    def do_GET(self):
        url, base = urlsplit(self.path), self.server.url
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.server.broken:
            return self.send(500, {"error": "server_error"})
        if url.path == "/.well-known/openid-configuration":
            return self.send(200, {
                "issuer": base, "authorization_endpoint": base + "/authorize", "token_endpoint": base + "/token", "userinfo_endpoint": base + "/userinfo",
                "jwks_uri": base + "/jwks", "end_session_endpoint": base + "/logout", "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"], "scopes_supported": ["openid", "email", "profile", "offline_access"]})
        if url.path == "/jwks":
            return self.send(200, {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "n": b64(self.server.modulus), "e": "AQAB"}]})
        if url.path == "/authorize":
            code = secrets.token_urlsafe(16)
            self.server.codes[code] = query
            return self.send(302, Location=query["redirect_uri"] + "?" + urlencode({"code": code, "state": query["state"]}))
        return self.send(200, {"sub": "ann", "email": "ann@example.com"})

    def do_POST(self):
        form = {name: values[0] for name, values in parse_qs(self.body().decode()).items()}
        if self.server.broken:
            return self.send(500, {"error": "server_error"})
        asked = self.server.codes.pop(form.get("code"), None)
        if form.get("grant_type") == "authorization_code":
            challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            if asked is None or asked["code_challenge"] != challenge:
                return self.send(400, {"error": "invalid_grant"})
        more = {"nonce": asked["nonce"]} if asked and "nonce" in asked else {}
        return self.send(200, {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 600, "refresh_token": secrets.token_urlsafe(16),
                               "id_token": self.server.sign(self.server.claims(**more))})


class Mcp(Server):
    """Streamable HTTP with sessions (2025-06-18). Tools: echo, wait (0.2 s), fail (isError), stream (answers by events)."""

    def __init__(self, port=0):
        self.sessions = set()
        super().__init__(McpHandler, port)


TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "wait", "fail", "stream", "erase")]


class McpHandler(Handler):
    def do_GET(self):
        if self.path == "/health":
            return self.send(200, {"status": "ok"})
        if self.path.startswith("/page"):
            return self.send(200, b"<!doctype html><title>page</title>", "text/html")
        # The stream of server messages: an event each 100 ms until the client leaves.
        self.begin_stream()
        for _ in range(6000):
            self.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "tick"}})
            time.sleep(0.1)

    def do_DELETE(self):
        self.server.sessions.discard(self.headers.get("Mcp-Session-Id"))
        self.send(200)

    def do_POST(self):
        message = json.loads(self.body())
        session = self.headers.get("Mcp-Session-Id")
        if session and session not in self.server.sessions:
            return self.send(404, {"jsonrpc": "2.0", "id": message.get("id"), "error": {"code": -32001, "message": "no such session"}})
        if "id" not in message:
            return self.send(202)
        method, params, headers = message["method"], message.get("params", {}), {}
        if method == "initialize":
            session = secrets.token_hex(16)
            self.server.sessions.add(session)
            headers["Mcp-Session-Id"] = session
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "stand", "version": "1"}}
        elif method == "tools/list":
            result = {"tools": TOOLS}
        elif method == "tools/call" and params["name"] in ("echo", "wait", "fail", "stream"):
            if params["name"] == "wait":
                time.sleep(0.2)
            result = {"content": [{"type": "text", "text": "done"}], "isError": params["name"] == "fail"}
            if params["name"] == "stream":
                self.begin_stream()
                self.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}})
                self.event({"jsonrpc": "2.0", "id": message["id"], "result": result})
                self.close_connection = True
                return None
        else:
            return self.send(200, {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": "unknown tool"}})
        return self.send(200, {"jsonrpc": "2.0", "id": message["id"], "result": result}, **headers)

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()

    def event(self, message):
        self.wfile.write(b"data: " + json.dumps(message).encode() + b"\n\n")
        self.wfile.flush()


class Collector(Server):
    """Takes whatever is posted, and keeps it."""

    def __init__(self):
        self.bodies = []
        super().__init__(CollectorHandler)


class CollectorHandler(Handler):
    def do_POST(self):
        self.server.bodies.append(self.body())
        self.send(200, b"", "application/x-protobuf")
