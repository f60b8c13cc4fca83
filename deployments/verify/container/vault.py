"""The proxy with a real Vault in development mode (in memory, on loopback): every way to log in, renewal, rotation, a login
that was revoked, a policy that is missing, a sealed server, the end.

vault.py VAULT PROXY
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from stage import Server, Stage, ask, step, until, want

ROOT = "root-of-this-check"
FIRST = "first-api-key-of-the-vault-check"
SECOND = "second-api-key-of-the-vault-check"
THIRD = "third-api-key-of-the-vault-check"
TOKEN = "token-for-the-backend-of-the-check"
POLICY = 'path "secret/data/mcp" { capabilities = ["read"] }\npath "kv/mcp" { capabilities = ["read"] }'
# Logins of the role hold for so many seconds, so that renewing is seen.
HOLDS = 8
ACCOUNT = "system:serviceaccount:mcp:mcp-oidc-proxy"


def free_port() -> int:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class Vault:
    """Vault's own API, as an administrator uses it."""

    def __init__(self, stage: Stage, binary: str):
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        arguments = ["server", "-dev", f"-dev-root-token-id={ROOT}", f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token"]
        self.server = stage.server("vault", binary, *arguments, env={"HOME": str(stage.work)})
        until("Vault is ready", lambda: "Root Token:" in self.server.log.read_text())
        line = next(line for line in self.server.log.read_text().splitlines() if line.startswith("Unseal Key:"))
        self.key = line.split(": ", 1)[1].strip()

    def api(self, method: str, path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/v1/{path}", data, {"X-Vault-Token": ROOT}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")

    def put(self, key: str) -> None:
        self.api("POST", "secret/data/mcp", {"data": {"api_key": key}})

    def logins(self) -> list[dict]:
        """The tokens of the proxy that live, by what their accessors show."""
        found = []
        for accessor in self.api("LIST", "auth/token/accessors")["data"]["keys"]:
            try:
                token = self.api("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
            except urllib.error.HTTPError:
                continue
            if "mcp-proxy" in token["policies"]:
                found.append(token)
        return found


def reviewer() -> int:
    """What reviews a service account's token in a cluster: it knows one pod's."""

    class Review(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            user = {"username": ACCOUNT, "uid": "11111111-2222-3333-4444-555555555555", "groups": ["system:serviceaccounts"]}
            status = {"authenticated": True, "user": user} if asked["spec"]["token"] == jwt() else {"authenticated": False}
            text = json.dumps({**asked, "status": status}).encode()
            self.send_response(201)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Review)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def jwt() -> str:
    """A token in the shape of a pod's. Nobody checks its signature but the reviewer, which knows the whole of it."""
    where = {"namespace": "mcp", "serviceaccount": {"name": "mcp-oidc-proxy", "uid": "11111111-2222-3333-4444-555555555555"}}
    claims = {"iss": "https://kubernetes.default.svc.cluster.local", "sub": ACCOUNT, "exp": 4102444800, "iat": 1700000000, "kubernetes.io": where}
    parts = ({"alg": "RS256", "kid": "k"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, base64.urlsafe_b64encode(b"signature" * 20).rstrip(b"=").decode()])


def backend(seen: list) -> int:
    class Echo(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("x-token"))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def prepared(vault: Vault) -> dict[str, str]:
    """Secrets, a policy, and the three ways to log in, as an administrator makes them. Gives a block for each."""
    vault.put(FIRST)
    vault.api("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "1"}})
    vault.api("POST", "kv/mcp", {"token": TOKEN})
    vault.api("PUT", "sys/policies/acl/mcp-proxy", {"policy": POLICY})
    for method in ("approle", "kubernetes"):
        vault.api("POST", f"sys/auth/{method}", {"type": method})
    vault.api("POST", "auth/approle/role/mcp-proxy", {"policies": "mcp-proxy", "token_ttl": f"{HOLDS}s", "token_max_ttl": "1h"})
    role = vault.api("GET", "auth/approle/role/mcp-proxy/role-id")["data"]["role_id"]
    secret = vault.api("POST", "auth/approle/role/mcp-proxy/secret-id")["data"]["secret_id"]
    cluster = {"kubernetes_host": f"http://127.0.0.1:{reviewer()}", "token_reviewer_jwt": jwt(), "disable_iss_validation": True}
    vault.api("POST", "auth/kubernetes/config", cluster)
    bound = {"bound_service_account_names": "mcp-oidc-proxy", "bound_service_account_namespaces": "mcp", "policies": "mcp-proxy", "ttl": "1h"}
    vault.api("POST", "auth/kubernetes/role/mcp-proxy", bound)
    given = vault.api("POST", "auth/token/create", {"policies": ["mcp-proxy"], "period": "24h"})["auth"]["client_token"]
    return {
        "approle": f"auth_method: approle, role_id: {role}, secret_id: {secret}",
        "kubernetes": "auth_method: kubernetes, role: mcp-proxy, jwt_file: {jwt}",
        "token": f"auth_method: token, token: {given}",
    }


def configuration(stage: Stage, vault: Vault, block: str, port: int, to: int) -> str:
    block = block.replace("{jwt}", stage.file("jwt", jwt()))
    return stage.file(
        "config.yaml",
        f"""version: 1
listen: [{{ address: "127.0.0.1:{port}" }}]
metrics: {{ enabled: false }}
vault: {{ address: "{vault.address}", {block} }}
secrets: {{ refresh: 10s, start_timeout: 2s }}
auth:
  api_keys: [{{ name: script, key: {{ vault: {{ path: secret/data/mcp, key: api_key }} }} }}]
backends:
  - name: b
    upstream: http://127.0.0.1:{to}/
    headers: {{ X-Token: {{ vault: {{ path: kv/mcp, key: token }} }} }}
routes: [{{ path: "/b/*", backend: b, kind: http, allow: {{ any_user: true }} }}]
shutdown: {{ delay: 0s, timeout: 1s, stream_grace: 0s }}
""",
    )


class Proxy:
    def __init__(self, stage: Stage, binary: str, file: str, port: int):
        self.port = port
        self.server: Server = stage.server("proxy", binary, "--config", file)
        until("the proxy listens", lambda: self.status("nobody") == 401)

    def status(self, key: str) -> int:
        want(self.server.process.poll() is None, f"the proxy ended\n{self.server.log.read_text()[-3000:]}")
        return ask("GET", f"http://127.0.0.1:{self.port}/b/x", {"X-API-Key": key})[0]

    def becomes(self, key: str, wanted: int) -> None:
        until(f"{key} becomes {wanted}", lambda: self.status(key) == wanted)

    def reload(self) -> None:
        self.server.process.send_signal(signal.SIGHUP)

    def says(self, *words: str) -> None:
        def found():
            return any(all(word in line for word in words) for line in self.server.log.read_text().splitlines())

        until(f"the log says {words}", found)


def main(binary: str, proxy_binary: str) -> None:
    with Stage() as stage:
        vault, seen = Vault(stage, binary), []
        blocks, to, port = prepared(vault), backend(seen), free_port()
        for method, block in blocks.items():
            file = configuration(stage, vault, block, port, to)
            command = [proxy_binary, "--config", file, "check-config", "--online"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            said = done.stdout + done.stderr
            want(done.returncode == 0, f"{method}: {done.returncode} {said}")
            for secret in ("secret/data/mcp, key api_key: ok", "kv/mcp, key token: ok"):
                want(secret in said, f"{method}: {said}")
            want(not any(value in said for value in (FIRST, TOKEN)), f"{method}: a value was printed")
        given = [token for token in vault.logins() if token["path"] != "auth/token/create"]
        want(not given, f"logins were not given back: {given}")
        step("check-config --online reads by approle, kubernetes and token, prints no value, and gives its logins back")

        proxy = Proxy(stage, proxy_binary, configuration(stage, vault, blocks["approle"], port, to), port)
        proxy.becomes(FIRST, 200)
        want(seen[-1] == TOKEN, "the backend has not got its token")
        vault.put(SECOND)
        proxy.becomes(SECOND, 200)
        want(proxy.status(FIRST) == 401, "the old key still works")
        step("a new version is in force without a signal")

        own = [token for token in vault.logins() if token["path"] == "auth/approle/login"]
        want(len(own) == 1, f"one login serves all readings: {own}")
        accessor = own[0]["accessor"]
        renewed = time.monotonic() + 2 * HOLDS
        until("two lifetimes are over", lambda: time.monotonic() > renewed)
        until("the login still lives", lambda: accessor in [token["accessor"] for token in vault.logins()])
        step(f"a login that holds {HOLDS} s lives on, renewed")

        vault.api("POST", "auth/token/revoke-accessor", {"accessor": accessor})
        vault.put(THIRD)
        proxy.reload()
        proxy.becomes(THIRD, 200)
        step("a login that was revoked is made anew")

        vault.api("PUT", "sys/policies/acl/mcp-proxy", {"policy": 'path "kv/mcp" { capabilities = ["read"] }'})
        proxy.reload()
        proxy.says("the value in force stays", 'path \\"secret/data/mcp\\" { capabilities', "mcp-proxy")
        want(proxy.status(THIRD) == 200, "the value in force is gone")
        vault.api("PUT", "sys/policies/acl/mcp-proxy", {"policy": POLICY})
        step("a policy that is missing is named with the line that it needs, and nothing changes")

        vault.api("PUT", "sys/seal")
        proxy.reload()
        proxy.says("is sealed", "the value in force stays")
        want(proxy.status(THIRD) == 200, "the value in force is gone")
        file = configuration(stage, vault, blocks["approle"], free_port(), to)
        done = subprocess.run([proxy_binary, "--config", file], capture_output=True, text=True, timeout=60, check=False)
        want(done.returncode == 69 and "is sealed" in done.stdout + done.stderr, f"a start: {done}")
        vault.api("PUT", "sys/unseal", {"key": vault.key})
        vault.put(FIRST)
        proxy.becomes(FIRST, 200)
        step("while it is sealed nothing changes and nothing starts; unsealed, it goes on")

        vault.api("DELETE", "secret/data/mcp")
        proxy.reload()
        proxy.says("its current version was deleted")
        want(proxy.status(FIRST) == 200, "the value in force is gone")
        os.kill(proxy.server.process.pid, signal.SIGTERM)
        want(proxy.server.process.wait(30) == 0, "the proxy did not end well")
        left = [token for token in vault.logins() if token["path"] == "auth/approle/login"]
        want(not left, f"the login was not given back: {left}")
        log = proxy.server.log.read_text()
        want(not any(value in log for value in (FIRST, SECOND, THIRD, TOKEN, jwt())), "a value is in the log")
        step("a deleted version changes nothing; at the end the login is given back, and no value is in the log")


if __name__ == "__main__":
    main(sys.argv[1], str(Path(sys.argv[2]).resolve()))
