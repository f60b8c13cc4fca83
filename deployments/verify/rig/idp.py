#!/usr/bin/env python3
"""An identity provider for checks: signs in everybody as `ann` without asking. RS256 by the openssl command.

usage: idp.py PORT FOLDER    (the key is made in FOLDER)
"""
import base64
import hashlib
import json
import secrets
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

port, folder = int(sys.argv[1]), sys.argv[2]
issuer = f"http://127.0.0.1:{port}"
key = f"{folder}/idp.key"
subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
modulus = subprocess.run(["openssl", "rsa", "-in", key, "-noout", "-modulus"], check=True, capture_output=True).stdout
codes: dict[str, dict] = {}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(claims: dict) -> str:
    text = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "rig", "typ": "JWT"}, claims))
    made = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), check=True, capture_output=True)
    return f"{text}.{b64(made.stdout)}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status: int, body: dict, **headers: str):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/.well-known/openid-configuration":
            return self.answer(200, {
                "issuer": issuer, "authorization_endpoint": f"{issuer}/authorize", "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/jwks", "response_types_supported": ["code"],
                "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", "email", "profile"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic"]})
        if url.path == "/jwks":
            number = bytes.fromhex(modulus.decode().strip().removeprefix("Modulus="))
            return self.answer(200, {"keys": [
                {"kty": "RSA", "kid": "rig", "use": "sig", "alg": "RS256", "n": b64(number), "e": "AQAB"}]})
        if url.path == "/authorize":
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            code = secrets.token_urlsafe(16)
            codes[code] = asked
            back = urlencode({"code": code, "state": asked["state"], "iss": issuer})
            return self.answer(302, {}, Location=f"{asked['redirect_uri']}?{back}")
        return self.answer(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        asked = codes.pop(form.get("code", ""), None)
        if asked is None or "code_challenge" in asked and b64(
                hashlib.sha256(form.get("code_verifier", "").encode()).digest()) != asked["code_challenge"]:
            return self.answer(400, {"error": "invalid_grant"})
        now = int(time.time())
        claims = {"iss": issuer, "sub": "ann", "aud": asked["client_id"], "iat": now, "exp": now + 3600,
                  "email": "ann@example.com", "name": "Ann", "preferred_username": "ann", "groups": ["engineering"]}
        if "nonce" in asked:
            claims["nonce"] = asked["nonce"]
        self.answer(200, {"access_token": secrets.token_urlsafe(24), "token_type": "Bearer", "expires_in": 3600,
                          "id_token": signed(claims), "scope": "openid email profile"})


ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
