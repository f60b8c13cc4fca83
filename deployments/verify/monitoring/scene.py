"""A real proxy with everything that it measures switched on, and what happens to it in a busy minute."""

import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import time

import stand
from client import Browser, Mcp, ask, authorize, grant

KEY = "check-api-key-0123456789"


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(what, holds, seconds=30):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s in vain: {what}")


def certificate(folder, days=30):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days), "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")], check=True, capture_output=True)


class Scene:
    def __init__(self, binary, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)
        self.provider, self.collector = stand.Provider(self.folder), stand.Collector()
        self.tools, self.flaky = stand.Mcp(), stand.Mcp()
        self.http, self.https, self.metrics = port(), port(), port()
        self.base, self.root = f"http://localhost:{self.http}", stand.b64(os.urandom(32))
        certificate(self.folder)
        self.trusting = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        self.write()
        self.process = None

    def write(self, extra=None):
        config = {
            "version": 1, "public_url": self.base, "secret_keys": [self.root],
            "listen": [{"address": f"127.0.0.1:{self.http}"}, {"address": f"127.0.0.1:{self.https}", "tls": {"cert_file": str(self.folder / "tls.crt"), "key_file": str(self.folder / "tls.key")}}],
            "metrics": {"address": f"127.0.0.1:{self.metrics}"}, "admin": {"address": f"unix:{self.folder}/admin.sock"},
            "oidc": {"name": "main", "issuer": self.provider.url, "client_id": "mcp-proxy", "client_secret": "check-client-secret"},
            "auth": {"api_keys": [{"name": "robot", "key": KEY, "groups": ["staff"]}]},
            "backends": [{"name": "tools", "upstream": self.tools.url + "/mcp", "health": {"path": "/health", "interval": "1s"}},
                         {"name": "flaky", "upstream": self.flaky.url + "/mcp", "health": {"path": "/health", "interval": "1s"}, "timeouts": {"connect": "1s"}},
                         {"name": "page", "upstream": self.tools.url + "/page"}],
            "routes": [{"path": "/mcp", "name": "tools", "backend": "tools", "allow": {"any_user": True}, "tools": [{"match": "erase", "deny": True, "name": "nobody-erases"}, {"match": "*"}]},
                       {"path": "/flaky", "name": "flaky", "backend": "flaky", "allow": {"any_user": True}},
                       {"path": "/page", "name": "page", "kind": "http", "backend": "page", "allow": {"any_user": True}}],
            "mcp": {"max_sessions_per_user": 200},
            "tracing": {"endpoint": self.collector.url, "sample_ratio": 1.0}, "audit": {"sink": "file", "file": {"path": str(self.folder / "audit.jsonl")}},
            "shutdown": {"delay": "0s", "timeout": "2s", "stream_grace": "0s"}, **(extra or {}),
        }
        (self.folder / "config.yaml").write_text(json.dumps(config))  # YAML reads JSON

    def command(self, *arguments):
        return subprocess.run([self.binary, "--config", str(self.folder / "config.yaml"), *arguments], capture_output=True, text=True, timeout=60)

    def start(self):
        checked = self.command("check-config")
        assert checked.returncode == 0, checked.stdout + checked.stderr
        self.output = open(self.folder / "proxy.jsonl", "ab")
        self.process = subprocess.Popen([self.binary, "--config", str(self.folder / "config.yaml")], stdout=self.output, stderr=self.output, env={**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "500"})
        until("the proxy is ready", lambda: ask("GET", f"http://127.0.0.1:{self.metrics}/health/ready").status == 200)
        until("the backends are up", lambda: self.scrape().count("mcp_proxy_backend_up{") == 3 and "mcp_proxy_backend_up{backend=\"tools\"} 1" in self.scrape())
        return self

    def scrape(self):
        return ask("GET", f"http://127.0.0.1:{self.metrics}/metrics").text()

    def reload(self, extra=None):
        self.write(extra)
        before = self.scrape()
        self.process.send_signal(signal.SIGHUP)
        until("the reload is counted", lambda: _lines(self.scrape(), "mcp_proxy_config_reloads_total") != _lines(before, "mcp_proxy_config_reloads_total"))

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for each in (self.provider, self.collector, self.tools, self.flaky):
            each.stop()

    # What happens.

    def robot(self, path="/mcp"):
        return Mcp(self.base + path, **{"X-API-Key": KEY})

    def people(self):
        """One signs in, uses the page and signs out; one sign-in fails."""
        browser = Browser()
        assert browser.open(self.base + "/page").status == 200
        for _ in range(3):
            assert browser.open(self.base + "/page").status == 200
        browser.submit(browser.open(self.base + "/oauth2/sign_out"), "/sign_out")
        assert Browser().open(self.base + "/oauth2/callback?code=x&state=made-up").status in (400, 403)
        self.provider.broken = True
        Browser().open(self.base + "/page")
        self.provider.broken = False

    def strangers(self):
        for headers in ({"X-API-Key": "wrong-key-0123456789"}, {"Authorization": "Bearer nonsense"}, {}):
            assert ask("POST", self.base + "/mcp", "{}", {"Content-Type": "application/json", **headers}).status == 401
        ask("GET", self.base + "/nowhere")

    def agent(self):
        """An MCP client with tokens of the proxy: sign-in, consent, calls, renewal."""
        tokens, client, server = authorize(self.base, Browser(), self.base + "/mcp")
        mcp = Mcp(self.base + "/mcp", Authorization="Bearer " + tokens["access_token"]).begin()
        for _ in range(20):
            assert mcp.call("echo").status == 200
        renewed = grant(server, grant_type="refresh_token", refresh_token=tokens["refresh_token"], client_id=client)
        assert "access_token" in renewed
        assert grant(server, grant_type="refresh_token", refresh_token="made-up", client_id=client).status == 400
        mcp.end()

    def calls(self, rounds=1):
        robot = self.robot().begin()
        for _ in range(rounds):
            for tool in ("echo", "echo", "echo", "wait", "fail", "stream", "erase", "unknown"):
                robot.call(tool)
            robot.listen().close()
        robot.end()
        self.robot().send("tools/list")
        forgotten = Mcp(self.base + "/mcp", **{"X-API-Key": KEY, "Mcp-Session-Id": "made-up"})
        assert forgotten.call("echo").status == 404

    def handshakes(self):
        for context in (self.trusting, ssl.create_default_context()):
            try:
                with socket.create_connection(("127.0.0.1", self.https)) as plain, context.wrap_socket(plain, server_hostname="localhost"):
                    pass
            except ssl.SSLError:
                pass

    def outage(self, seconds):
        """The flaky server dies in the middle of a stream and comes back later."""
        robot = self.robot("/flaky").begin()
        stream, at = robot.listen(), self.flaky.server_port
        stream.recv(4096)
        self.flaky.stop()
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            robot.call("echo")
            time.sleep(0.2)
        stream.close()
        self.flaky = stand.Mcp(at)
        until("the flaky server is seen again", lambda: self.robot("/flaky").send("tools/list").status == 200)

    def load(self, seconds, workers=4):
        """Callers that work for this long; gives back how many calls went well."""
        done, ends = [], time.monotonic() + seconds

        def work():
            robot, count = self.robot().begin(), 0
            while time.monotonic() < ends:
                count += robot.call("echo").status == 200
            robot.end()
            done.append(count)

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for each in threads:
            each.start()
        return threads, done

    def minute(self, seconds=45):
        """All of it at once."""
        threads, done = self.load(seconds)
        ends = time.monotonic() + seconds
        keep = self.robot().begin()  # a session and a stream that stay
        stream = keep.listen()
        self.outage(5)
        first = True
        while time.monotonic() < ends:
            self.people()
            self.strangers()
            self.agent()
            self.calls()
            self.handshakes()
            if first:
                self.reload({"mcp": {"max_sessions_per_user": 150}})
                self.reload({"routes": [{"path": "/nobody", "backend": "nobody"}]})
                self.reload()
                (self.folder / "tls.crt").write_text("no certificate")
            first = False
            time.sleep(1)
        for each in threads:
            each.join()
        self.kept = stream
        return sum(done)


def _lines(text, name):
    return [line for line in text.splitlines() if line.startswith(name)]
