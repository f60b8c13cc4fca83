#!/usr/bin/env python3
"""Runs the commands of "Deny all" in docs/runbooks/emergency.md as they are printed, against the real proxy, with
configurations written in different ways, and asks every route before, while it is closed, and afterwards.

deny.py systemd BINARY             the second file of the service: closed, still closed after a reload, a step open, open
deny.py container BINARY           the arguments of the Compose file and of the patch of the Deployment (needs kubectl)
deny.py values FOLDER              writes deny-all.yaml and the values for the chart there
deny.py block TITLE NUMBER         prints one of the blocks of commands of a chapter
deny.py rendered FILE...           fails when a configuration in rendered objects has any other route

Needs PyYAML and openssl.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "deployments/verify/monitoring"))

import stand  # noqa: E402
from client import Browser, Mcp, ask, authorize  # noqa: E402
from scene import port, until  # noqa: E402

PAGE = (ROOT / "docs/runbooks/emergency.md").read_text()
KEY, LEAD = "check-api-key-0123456789", "lead-api-key-0123456789"
CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})

# Ways to write the same thing, and the paths that somebody reaches before.
WAYS = {
    "block style": ("""
routes:
  - path: /mcp
    name: tools
    backend: tools
    allow:
      any_user: true
  - path: /staff
    backend: tools
    allow:
      groups:
        - staff
  - path: /open/*
    backend: page
    kind: http
    public:
      true
""", ["/mcp", "/staff", "/open/page"]),
    "nested on one line": ("""
routes: [{ path: /mcp, name: tools, backend: tools, allow: { groups: [staff], claims: { department: [EMEA, APAC] } } }, { path: /page, kind: http, backend: page, public: true }]
""", ["/mcp", "/page"]),
    "many routes, names used elsewhere": ("""
routes:
  - { path: /mcp, name: tools, backend: tools, allow: { any_user: true }, tools: [{ match: erase, deny: true }, { match: "*" }] }
  - { path: /more/*, name: more, backend: tools, allow: { groups: [staff] } }
  - path: /page
    kind: http
    backend: page
    allow: { "any_user": true }
  - "path": "/site/*"
    "kind": "http"
    "backend": "page"
    "public": true
authorization_server:
  default_route: tools
  clients: [{ client_id: agent, redirect_uris: ["https://agent.example.com/callback"], routes: [tools, more] }]
""", ["/mcp", "/more/mcp", "/page", "/site/page"]),
    "variables alone": ("", ["/mcp", "/page"]),
}


def chapter(title):
    return re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", PAGE, re.S | re.M)[1]


def blocks(title, kind):
    found = re.findall(rf"^```{kind}\n(.*?)^```", chapter(title), re.S | re.M)
    assert found, f"no {kind} in '{title}'"
    return found


def inside(name):
    """What a command writes into a file by `<<'WORD'`."""
    return re.search(rf"cat > {re.escape(name)} <<'(\w+)'\n(.*?)^\1$", PAGE, re.S | re.M)[2]


class Host:
    """A machine with what the proxy stands between, and a folder for its /etc and its home."""

    def __init__(self, binary, folder, way):
        self.folder, self.way = pathlib.Path(folder), way
        for each in ("etc/mcp-proxy", "home", "bin", "run"):
            (self.folder / each).mkdir(parents=True)
        (self.folder / "bin/mcp-oidc-proxy").symlink_to(binary)
        self.calls = self.folder / "systemctl"
        (self.folder / "bin/systemctl").write_text(f'#!/bin/sh\necho "$*" >>{self.calls}\n')
        (self.folder / "bin/systemctl").chmod(0o755)
        self.provider, self.mcp = stand.Provider(self.folder), stand.Mcp()
        self.at, self.metrics, self.process = port(), port(), None
        self.base = f"http://localhost:{self.at}"
        routes, self.paths = WAYS[way]
        common = {
            "version": 1, "public_url": self.base, "secret_keys": [stand.b64(b"k" * 32)], "listen": [{"address": f"127.0.0.1:{self.at}"}],
            "metrics": {"address": f"127.0.0.1:{self.metrics}"}, "admin": {"address": f"unix:{self.folder}/run/admin.sock"},
            "oidc": {"issuer": self.provider.url, "client_id": "mcp-proxy", "client_secret": "check-client-secret"},
            "auth": {"api_keys": [{"name": "robot", "key": KEY, "groups": ["staff"], "claims": {"department": "EMEA"}}, {"name": "lead", "key": LEAD, "groups": ["incident"]}]},
            "shutdown": {"delay": "0s", "timeout": "2s", "stream_grace": "0s"},
        }
        self.env = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HOME": str(self.folder / "home"), "KEY": KEY}
        if routes:
            common["backends"] = [{"name": "tools", "upstream": self.mcp.url + "/mcp"}, {"name": "page", "upstream": self.mcp.url + "/page"}]
        else:
            self.env |= {"MCP_TARGET_HOST": "127.0.0.1", "MCP_TARGET_PORT": str(self.mcp.server_port)}
        (self.folder / "etc/mcp-proxy/config.yaml").write_text(yaml.safe_dump(common, sort_keys=False) + routes)

    def own(self, text):
        """Text of the page with the addresses of this machine."""
        return text.replace("/etc/", f"{self.folder}/etc/").replace("/usr/bin/", f"{self.folder}/bin/").replace("https://mcp.example.com", self.base)

    def shell(self, text):
        made = subprocess.run(["bash", "-euc", self.own(text)], env=self.env, cwd=self.folder / "home", capture_output=True, text=True, timeout=60)
        assert made.returncode == 0, f"{self.own(text)}\n{made.stdout}{made.stderr}"
        return made.stdout

    def start(self, words):
        self.stop_proxy()
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(words, env=self.env, stdout=log, stderr=log)
        until("the proxy is ready", lambda: ask("GET", f"http://127.0.0.1:{self.metrics}/health/ready").status == 200)

    def service(self):
        """What systemd would do: the last ExecStart of unit and drop-ins."""
        drop_in = (self.folder / "etc/systemd/system/mcp-oidc-proxy.service.d/incident.conf").read_text()
        lines = [line.partition("=")[2] for line in drop_in.splitlines() if line.startswith("ExecStart=")]
        assert lines[0] == "" and len(lines) == 2, drop_in
        self.start(lines[1].split())

    def hang_up(self):
        def count():
            return sum(float(line.rsplit(" ", 1)[1]) for line in ask("GET", f"http://127.0.0.1:{self.metrics}/metrics").text().splitlines() if line.startswith("mcp_proxy_config_reloads_total"))

        before = count()
        self.process.send_signal(signal.SIGHUP)
        until("the reload is counted", lambda: count() > before)

    def ask(self, path, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask("POST", self.base + path, CALL, {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}).status

    def statuses(self):
        own = ("/health", "/oauth2/sign_out", "/oauth2/callback", "/.well-known/oauth-authorization-server")
        return {**{(path, who): self.ask(path, **headers) for path in self.paths for who, headers in (("nobody", {}), ("key", {"X_API_Key": KEY}))},
                **{(path, "own"): ask("GET", self.base + path).status for path in own}}

    def expect_open(self, now):
        reached = [path for path in self.paths if now[path, "key"] == 200]
        assert reached == self.paths, f"{self.way}: reached before: {now}"
        assert now["/health", "own"] == 200 and now["/oauth2/sign_out", "own"] == 200, now

    def expect_closed(self, before, when):
        now = self.statuses()
        for (path, who), status in now.items():
            wanted = {"nobody": (401, 403, 404), "key": (403,), "own": (before[path, who],)}[who]
            assert status in wanted, f"{self.way}, {when}: {path} for {who} is {status}, not one of {wanted}"

    def stop_proxy(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def stop(self):
        self.stop_proxy()
        self.provider.stop()
        self.mcp.stop()


def commands(block):
    """Each command of a console block with the output that is printed under it."""
    parts = re.split(r"^\$ ", block, flags=re.M)[1:]
    return [part.split("\n", 1) for part in parts]


def run(host, setting, block):
    """The commands of a console block; what they print has to be what the page says."""
    for command, printed in commands(block):
        got = host.shell(f"{setting}\n{command}")
        if printed.startswith('{"files"'):
            printed, got = json.loads(host.own(printed)), json.loads(got)
            assert (printed["files"], printed["needs_restart"]) == (got["files"], got["needs_restart"]), f"{command}\n{got}"
        else:
            assert got.strip() == host.own(printed).strip(), f"{command}\n{got}\nis not what is printed:\n{printed}"


def ended(stream, seconds):
    """Whether a stream of events, in chunks of HTTP, ends in this time."""
    got, until_then = b"", time.monotonic() + seconds
    while time.monotonic() < until_then:
        more = stream.recv(65536)
        got = got[-16:] + more
        if not more or b"\r\n0\r\n\r\n" in got:
            return True
    return False


def systemd(host):
    setting = re.search(r"P='.*?'", chapter("Deny all: systemd"))[0]
    closing, opening = blocks("Deny all: systemd", "console")
    host.shell(blocks("Deny all", "sh")[0])
    host.shell(blocks("Deny all: systemd", "sh")[0])
    assert host.calls.read_text().split("\n") == ["daemon-reload", "restart mcp-oidc-proxy", ""]
    host.service()
    before = host.statuses()
    host.expect_open(before)
    token = None
    if "any_user" in WAYS[host.way][0]:
        token = "Bearer " + authorize(host.base, Browser(), host.base + "/mcp")[0]["access_token"]
        assert host.ask("/mcp", Authorization=token) == 200
    stream = Mcp(host.base + "/mcp", **{"X-API-Key": KEY}).begin().listen()

    run(host, setting, closing)
    host.expect_closed(before, "closed")
    assert not token or host.ask("/mcp", Authorization=token) in (401, 403), "a token goes on"
    assert ended(stream, 10), f"{host.way}: a stream goes on"
    host.hang_up()
    host.expect_closed(before, "closed, after a reload")

    if host.way != "variables alone":
        step = blocks("Open again, step by step", "yaml")[0].replace("http://10.0.0.7:3000/mcp", host.mcp.url + "/mcp")
        (host.folder / "etc/mcp-proxy/incident.yaml").write_text(step)
        host.hang_up()
        assert host.ask("/mcp", X_API_Key=LEAD) == 200, "the first step lets the incident group in"
        assert host.ask("/mcp", X_API_Key=KEY) == 403 and host.ask(host.paths[1], X_API_Key=KEY) == 403, "and nobody else"
        assert host.ask(host.paths[1], X_API_Key=LEAD) == 502, "nor anywhere else"

    run(host, setting, opening)
    assert not token or host.ask("/mcp", Authorization=token) == 200, "a token does not go on"
    after = host.statuses()
    assert after == before, f"{host.way}: not as before: {before} {after}"


def arguments():
    """The arguments that the Compose file and the patched Deployment start the program with."""
    compose = yaml.safe_load(inside("docker-compose.deny-all.yml"))["services"]["proxy"]
    assert compose["volumes"] == ["./deny-all.yaml:/etc/mcp-proxy-incident/deny-all.yaml:ro"], compose
    yield "Compose", compose["command"]
    with tempfile.TemporaryDirectory() as scratch:
        patch = pathlib.Path(scratch, "patch.yaml")
        patch.write_text(inside("deny-all-patch.yaml"))
        patched = subprocess.run(["kubectl", "patch", "--local", "-f", ROOT / "deployments/kubernetes/base/deployment.yaml", "--patch-file", patch, "-o", "yaml"], capture_output=True, text=True, check=True)
    original = yaml.safe_load((ROOT / "deployments/kubernetes/base/deployment.yaml").read_text())
    before, after = original["spec"]["template"]["spec"], yaml.safe_load(patched.stdout)["spec"]["template"]["spec"]
    for kept, now in ((before["volumes"], after["volumes"]), (before["containers"][0]["volumeMounts"], after["containers"][0]["volumeMounts"])):
        missing = {each["name"] for each in kept} - {each["name"] for each in now}
        assert not missing and "deny-all" in {each["name"] for each in now}, f"the patch takes away {missing}"
    assert len(after["containers"]) == len(before["containers"])
    assert before["containers"][0]["args"] == after["containers"][0]["args"][:2], "the original arguments come first"
    yield "Deployment", after["containers"][0]["args"]


def container(host):
    first = ["--config", "/etc/mcp-proxy/config.yaml"]
    host.shell(blocks("Deny all", "sh")[0])
    incident = host.folder / "etc/mcp-proxy-incident"
    incident.mkdir()
    (host.folder / "home/deny-all.yaml").rename(incident / "deny-all.yaml")
    program = str(host.folder / "bin/mcp-oidc-proxy")
    host.start([program, *map(host.own, first)])
    before = host.statuses()
    host.expect_open(before)
    for what, words in arguments():
        host.start([program, *map(host.own, words)])
        host.expect_closed(before, what)


def rendered(files):
    seen = 0
    for path in files:
        for each in yaml.safe_load_all(pathlib.Path(path).read_text()):
            if each and each["kind"] == "ConfigMap" and "config.yaml" in each["data"]:
                config = yaml.safe_load(each["data"]["config.yaml"])
                assert config["routes"][0]["path"] == "/*", f"{path}: {config['routes']}"
                for route in config["routes"]:
                    assert (route["backend"], route["allow"], route.get("public")) == ("deny-all", {"groups": ["incident"]}, None), f"{path}: {route}"
                assert [backend["name"] for backend in config["backends"]] == ["deny-all"], f"{path}: {config['backends']}"
                assert config["authorization_server"]["default_route"] == "deny-all-mcp" and not config["authorization_server"]["clients"], path
                seen += 1
    assert seen, "no configuration was rendered"
    print(f"{seen} configurations closed")


def main():
    sys.dont_write_bytecode = True
    mode, rest = sys.argv[1], sys.argv[2:]
    if mode == "block":
        return print(blocks(rest[0], "sh")[int(rest[1])], end="")
    if mode == "rendered":
        return rendered(rest)
    if mode == "values":
        for text in (blocks("Deny all", "sh")[0], blocks("Deny all: Kubernetes", "sh")[0].splitlines()[0]):
            subprocess.run(["bash", "-euc", text], cwd=rest[0], check=True)
        return None
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            host = Host(pathlib.Path(rest[0]).resolve(), folder, way)
            try:
                {"systemd": systemd, "container": container}[mode](host)
                print(f"{way}: {', '.join(host.paths)}: closed and opened")
            finally:
                host.stop()
    return None


if __name__ == "__main__":
    main()
