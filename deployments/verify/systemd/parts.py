"""What stands around the proxy in a check: an identity provider, an MCP server, and a client that knows only a URL.

Nothing but Python's own library, so that it runs in the smallest system. `parts.py PROVIDER_PORT MCP_PORT` serves both.
"""
import base64
import hashlib
import html
import http.client
import json
import re
import secrets
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CLIENT_SECRET = "the-secret-of-the-check-0123456789"
CALLBACK = "http://127.0.0.1:33418/callback"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


SMALL = [n for n in range(3, 4000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]


def prime(bits):
    while True:
        n = secrets.randbits(bits) | (3 << (bits - 2)) | 1
        if all(n % p for p in SMALL) and all(pow(a, n - 1, n) == 1 for a in (2, 3, 5)):
            return n


class Signer:
    """RS256 (RFC 8017 section 8.2), made now."""

    def __init__(self):
        p, q = prime(1024), prime(1024)
        self.n, self.e = p * q, 65537
        self.d = pow(self.e, -1, (p - 1) * (q - 1))

    def jwk(self):
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "check",
                "n": b64(self.n.to_bytes(256, "big")), "e": b64(b"\x01\x00\x01")}

    def sign(self, claims):
        head = b64(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "check"}).encode())
        text = f"{head}.{b64(json.dumps(claims).encode())}"
        digest = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(text.encode()).digest()
        block = b"\x00\x01" + b"\xff" * (256 - 3 - len(digest)) + b"\x00" + digest
        return f"{text}.{b64(pow(int.from_bytes(block, 'big'), self.d, self.n).to_bytes(256, 'big'))}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


def provider(port):
    """Signs ann in without asking. Checks the client's secret, the redirect address and PKCE."""
    issuer, signer, codes = f"http://127.0.0.1:{port}", Signer(), {}

    class Provider(Handler):
        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            if url.path == "/.well-known/openid-configuration":
                return self.answer(200, {
                    "issuer": issuer, "authorization_endpoint": f"{issuer}/authorize", "token_endpoint": f"{issuer}/token",
                    "jwks_uri": f"{issuer}/jwks", "response_types_supported": ["code"], "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
                    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]})
            if url.path == "/jwks":
                return self.answer(200, {"keys": [signer.jwk()]})
            if url.path == "/authorize":
                asked = dict(urllib.parse.parse_qsl(url.query))
                code = secrets.token_urlsafe(24)
                codes[code] = asked
                query = urllib.parse.urlencode({"code": code, "state": asked["state"], "iss": issuer})
                return self.answer(302, b"", Location=f"{asked['redirect_uri']}?{query}")
            return self.answer(404, {})

        def do_POST(self):
            form = dict(urllib.parse.parse_qsl(self.body().decode()))
            given = form.get("client_secret")
            if (basic := self.headers.get("Authorization", "")).startswith("Basic "):
                given = urllib.parse.unquote(base64.b64decode(basic[6:]).decode().split(":", 1)[1])
            if given != CLIENT_SECRET:
                return self.answer(401, {"error": "invalid_client"})
            asked = codes.pop(form.get("code"), None)
            proved = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            if not asked or asked["redirect_uri"] != form["redirect_uri"] or asked.get("code_challenge", proved) != proved:
                return self.answer(400, {"error": "invalid_grant"})
            now = int(time.time())
            claims = {"iss": issuer, "sub": "ann", "aud": asked["client_id"], "iat": now, "exp": now + 300, "auth_time": now,
                      "nonce": asked.get("nonce"), "email": "ann@example.com", "email_verified": True, "name": "Ann",
                      "groups": ["engineering"]}
            return self.answer(200, {"access_token": secrets.token_urlsafe(24), "token_type": "Bearer", "expires_in": 300,
                                     "id_token": signer.sign(claims)})

    return ThreadingHTTPServer(("127.0.0.1", port), Provider)


def mcp_server(port):
    """Tools echo and whoami; GET is a stream with an event every 200 ms."""
    tools = [{"name": name, "description": name, "inputSchema": {"type": "object"}} for name in ("echo", "whoami")]

    class Server(Handler):
        def do_POST(self):
            message = json.loads(self.body())
            if "id" not in message:
                return self.answer(202, b"")
            method, params = message["method"], message.get("params", {})
            if method == "initialize":
                result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                          "serverInfo": {"name": "check", "version": "1"}}
            elif method == "tools/list":
                result = {"tools": tools}
            elif params.get("name") == "echo":
                result = {"content": [{"type": "text", "text": params["arguments"]["text"]}]}
            else:
                told = {name: value for name, value in self.headers.items() if name.lower().startswith(("x-forwarded", "authorization"))}
                result = {"content": [{"type": "text", "text": json.dumps(told)}]}
            return self.answer(200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for number in range(600):
                    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": number}}
                    event = f"id: {number}\ndata: {json.dumps(note)}\n\n".encode()
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                    self.wfile.flush()
                    time.sleep(0.2)
            except OSError:
                pass
            self.close_connection = True

    return ThreadingHTTPServer(("127.0.0.1", port), Server)


class Failed(Exception):
    """What was seen is not what should have been."""


def expect(holds, what):
    if not holds:
        raise Failed(what)


def send(method, url, headers=None, body=None, timeout=20):
    """One request over a connection of its own: status, headers, body."""
    parts = urllib.parse.urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    connection = http.client.HTTPConnection(host, parts.port or 80, timeout=timeout)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {"Host": parts.netloc, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def wait_for(url, wanted=200, seconds=120):
    """Until the address answers so."""
    end = time.monotonic() + seconds
    while True:
        try:
            seen = send("GET", url)[0]
        except OSError as error:
            seen = error
        if seen == wanted:
            return
        expect(time.monotonic() < end, f"{url} still says {seen} after {seconds} s")
        time.sleep(0.05)


def rpc(url, method, params, credential, timeout=20):
    """A JSON-RPC request as MCP clients send it; gives the status and the message."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
               "MCP-Protocol-Version": "2025-06-18", **credential}
    status, headers, body = send("POST", url, headers, body, timeout)
    return status, headers, json.loads(body) if body.startswith(b"{") else body


def call(url, name, arguments, credential, timeout=20):
    """A tool call; gives the text that came back."""
    status, _, message = rpc(url, "tools/call", {"name": name, "arguments": arguments}, credential, timeout)
    expect(status == 200, f"tools/call {name} answered {status}: {message}")
    return message["result"]["content"][0]["text"]


class Browser:
    """Cookies, redirects, forms."""

    def __init__(self):
        self.jar = {}

    def go(self, method, url, body=None, stop_at=None, origin=None):
        for _ in range(12):
            host = urllib.parse.urlsplit(url).hostname
            headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.jar.get(host, {}).items()), "Accept": "text/html"}
            if body is not None:
                headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
            status, answer, text = send(method, url, headers, body)
            for cookie in answer.get_all("Set-Cookie") or []:
                name, value = cookie.split(";")[0].split("=", 1)
                self.jar.setdefault(host, {})[name] = value
            if status not in (301, 302, 303, 307, 308):
                return status, url, text.decode()
            url, method, body = urllib.parse.urljoin(url, answer["Location"]), "GET", None
            if stop_at and url.startswith(stop_at):
                return status, url, ""
        raise Failed(f"too many redirects, the last to {url}")

    def submit(self, url, page, path, fields, stop_at):
        for form in re.findall(r"<form.*?</form>", page, re.S):
            action = html.unescape((re.search(r'action="([^"]*)"', form) or ["", ""])[1])
            if urllib.parse.urlsplit(action).path.endswith(path):
                inputs = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall(r"<input[^>]*>", form)]
                values = {i["name"]: html.unescape(i.get("value", "")) for i in inputs if i.get("type") == "hidden"}
                target = urllib.parse.urljoin(url, action)
                origin = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(target))
                return self.go("POST", target, urllib.parse.urlencode(values | fields), stop_at, origin)
        raise Failed(f"no form to {path} at {url}: {page}")


def sign_in(mcp):
    """From the URL of an MCP server to an access token: discovery, registration, sign-in, consent, PKCE."""
    status, headers, _ = rpc(mcp, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {},
                                                 "clientInfo": {"name": "check", "version": "1"}}, {})
    expect(status == 401, f"without a token {mcp} answered {status}")
    metadata = json.loads(send("GET", re.search(r'resource_metadata="([^"]+)"', headers["WWW-Authenticate"])[1])[2])
    issuer = metadata["authorization_servers"][0]
    server = json.loads(send("GET", f"{issuer}/.well-known/oauth-authorization-server")[2])
    wanted = {"client_name": "check", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none",
              "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"], "application_type": "native"}
    status, _, body = send("POST", server["registration_endpoint"], {"Content-Type": "application/json"}, json.dumps(wanted))
    expect(status == 201, f"registration answered {status}: {body}")
    client = json.loads(body)["client_id"]
    verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(16)
    query = {"response_type": "code", "client_id": client, "redirect_uri": CALLBACK, "state": state, "resource": mcp,
             "code_challenge": b64(hashlib.sha256(verifier.encode()).digest()), "code_challenge_method": "S256"}
    browser = Browser()
    status, url, page = browser.go("GET", f"{server['authorization_endpoint']}?{urllib.parse.urlencode(query)}")
    expect(status == 200 and "ann@example.com" in page, f"no consent page for ann at {url}: {status} {page}")
    _, url, page = browser.submit(url, page, "/oauth2/consent", {"decision": "approve"}, CALLBACK)
    back = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    expect(back.get("state") == state and "code" in back, f"no code in {url} {page}")
    form = {"grant_type": "authorization_code", "code": back["code"], "client_id": client, "redirect_uri": CALLBACK,
            "code_verifier": verifier, "resource": mcp}
    status, _, body = send("POST", server["token_endpoint"], {"Content-Type": "application/x-www-form-urlencoded"},
                           urllib.parse.urlencode(form))
    expect(status == 200, f"the token endpoint answered {status}: {body}")
    return json.loads(body)["access_token"]


def login_and_call(mcp):
    """A person signs in, a client gets a token and calls tools with it; the server is told who it is, not the token."""
    credential = {"Authorization": f"Bearer {sign_in(mcp)}"}
    said = call(mcp, "echo", {"text": "through the proxy"}, credential)
    expect(said == "through the proxy", f"echo said {said}")
    told = call(mcp, "whoami", {}, credential)
    expect("ann" in told and "Bearer" not in told, f"the server was told {told}")
    return told


if __name__ == "__main__":
    for server in (provider(int(sys.argv[1])), mcp_server(int(sys.argv[2]))):
        threading.Thread(target=server.serve_forever).start()
