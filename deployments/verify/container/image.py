"""Runs the image, in a network namespace that has nothing but a loopback interface.

image.py environment IMAGE     started by variables alone; what the kernel says about it; how it ends
image.py file IMAGE            started from a mounted file; a person signs in, and a client calls a tool
"""

import json
import sys
import threading
from pathlib import Path

from bundle import Wish
from stage import PARTS, Mcp, Stage, ask, step, until, want

NETNS = "/proc/self/ns/net"
KEY = {"X-API-Key": "a-key-of-the-verification-0123456789"}
PROGRAM = "/usr/local/bin/mcp-oidc-proxy"


def environment(stage: Stage, image: Path) -> None:
    """No file at all, and everything that may go wrong on the way down."""
    stage.everything(3001)
    hosts = stage.file("hosts", "127.0.0.1 localhost\n127.0.2.1 mcp-server.example\n")
    env = {
        "PORT": "8181",
        "METRICS_PORT": "9191",
        "PUBLIC_URL": "http://localhost:8181",
        "MCP_API_KEY": KEY["X-API-Key"],
        "MCP_TARGET_HOST": "mcp-server.example",
        "MCP_TARGET_PORT": "3001",
        "MCP_PROXY__ADMIN__ADDRESS": "unix:/run/mcp-proxy/admin.sock",
        "MCP_PROXY__AUDIT__SINK": "file",
        "MCP_PROXY__AUDIT__FILE__PATH": "/var/lib/mcp-proxy/audit.jsonl",
    }
    wish = Wish(env=env, mounts={hosts: "/etc/hosts"}, tmpfs=("/run/mcp-proxy", "/var/lib/mcp-proxy"), netns=NETNS)
    proxy = stage.container("proxy", image, wish).start()
    until("the image's health check passes", proxy.healthy)
    step("starts from variables alone, and its own health check passes")

    pid = proxy.state()["pid"]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    want(status["Uid"].split() == ["65532"] * 4 and status["Gid"].split() == ["65532"] * 4, f"runs as {status['Uid']}")
    want(all(int(status[f"Cap{kind}"], 16) == 0 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")), "has capabilities")
    want(status["NoNewPrivs"] == "1", "may gain privileges")
    root = next(line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines() if line.split()[1] == "/")
    want("ro" in root[3].split(","), f"the root can be written to: {root}")
    step("user 65532, no capability, no new privileges, read-only root")

    base = "http://localhost:8181"
    status, headers, _ = ask("POST", f"{base}/mcp", body={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    want(status == 401, f"without a key: {status}")
    text = Mcp(f"{base}/mcp", KEY).call("echo", {"message": "by hosts file"})
    want(text == "Echo: by hosts file", text)
    step("finds its server by the hosts file: a tool call with an API key works, one without is 401")
    status, _, metrics = ask("GET", "http://127.0.0.1:9191/metrics")
    want(status == 200 and "mcp_tool_calls_total" in metrics, f"metrics: {status}")
    for arguments in (["version", "--json"], ["keygen"], ["check-config"], ["audit", "verify"], ["print-config"]):
        done = proxy.execute(PROGRAM, *arguments)
        want(done.returncode == 0, f"{arguments} in the container: {done.returncode} {done.stdout}{done.stderr}")
    step("metrics; version, keygen, check-config, print-config and audit verify work inside of the container")

    # A call of three seconds is under way when the signal comes.
    client, results = Mcp(f"{base}/mcp", KEY), []
    slow = threading.Thread(target=lambda: results.append(client.call("trigger-long-running-operation", {"duration": 3, "steps": 1})))
    slow.start()
    until("the call is under way", lambda: 'mcp_proxy_requests_in_flight{route="/*"} 1' in ask("GET", "http://127.0.0.1:9191/metrics")[2], 10)
    proxy.kill("TERM")
    until("/ready says 503", lambda: ask("GET", f"{base}/ready")[0] == 503, 5)
    code = proxy.process.wait(60)
    slow.join(10)
    want(results and "completed" in results[0], f"the call under way came to {results}")
    want(code == 0, f"SIGTERM: ended with {code}\n{proxy.log.read_text()[-2000:]}")
    step("SIGTERM: not ready at once, the call under way comes to its end, exit code 0")

    for signals, expected, text in ((["KILL"], 137, "SIGKILL ends it with 137, and it starts again"), (["TERM", "TERM"], None, "a second SIGTERM ends it at once")):
        again = stage.container(f"again-{signals[-1]}", image, wish).start()
        until("healthy again", again.healthy)
        for each in signals:
            again.kill(each)
        # Far less than the delay of a drain.
        code = again.process.wait(4)
        want(expected is None or code == expected, f"{signals}: ended with {code}")
        step(text)

    wrong = stage.container("wrong", image, Wish(env={**env, "MCP_PROXY__LISTEN__0__ADDRESS": "nonsense"}, netns=NETNS)).start()
    code = wrong.process.wait(20)
    want(code == 78 and "listen" in wrong.log.read_text(), f"a wrong value: {code}\n{wrong.log.read_text()}")
    step("a wrong value ends it with 78 and a message that names it")


def file(stage: Stage, image: Path) -> None:
    """A mounted file, a secret in a file, a real provider."""
    stage.everything(3001)
    provider = stage.server("provider", "node", "--no-warnings", PARTS / "oidc-provider/server.mjs", "{}").first_line()
    config = f"""
version: 1
public_url: http://localhost:8080
oidc:
  issuer: {provider["issuer"]}
  client_id: proxy
  client_secret: {{ file: /run/secrets/client-secret }}
backends: [{{ name: sample, upstream: "http://127.0.0.1:3001/mcp" }}]
routes: [{{ path: /mcp, backend: sample, allow: {{ groups: [engineering] }} }}]
admin: {{ address: "unix:/run/mcp-proxy/admin.sock" }}
"""
    mounts = {
        stage.file("config.yaml", config): "/etc/mcp-proxy/config.yaml",
        stage.file("client-secret", "a-secret-of-the-proxy-at-the-provider\n"): "/run/secrets/client-secret",
    }
    proxy = stage.container("proxy", image, Wish(mounts=mounts, tmpfs=("/run/mcp-proxy",), netns=NETNS)).start()
    until("the image's health check passes", proxy.healthy)
    step("starts from a mounted file, with a secret in another")
    until("the provider is known", lambda: json.loads(ask("GET", "http://127.0.0.1:9090/health")[2])["status"] == "healthy")

    seen = stage.visit("http://localhost:8080/mcp", "ann", "echo", {"message": "hello"})
    want(seen["logins"] == 1 and seen["text"] == "Echo: hello", f"{seen}")
    step("the official client finds the sign-in by itself, ann signs in and agrees, and the tool answers")
    status, _, text = ask("POST", "http://localhost:8080/mcp", {"Authorization": "Bearer nonsense"}, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    want(status == 401, f"a made-up token: {status} {text}")
    done = proxy.execute(PROGRAM, "sessions", "list", "--subject", "ann")
    want(done.returncode == 0 and json.loads(done.stdout)["logins"], f"sessions list: {done.stdout}{done.stderr}")
    step("a made-up token is 401; `sessions list` in the container names her login")
    code = proxy.end()
    want(code == 0, f"SIGTERM: ended with {code}")
    step("SIGTERM: exit code 0")


if __name__ == "__main__":
    with Stage() as it:
        {"environment": environment, "file": file}[sys.argv[1]](it, Path(sys.argv[2]))
