"""Runs what docker-compose.yml describes, without Docker: its services with their own commands, variables, files and health
checks, the names that Compose would give them, and the proxy's image by runc.

composed.py FOLDER_WITH_ENV IMAGE       in a network namespace that has nothing but a loopback interface
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import compose
from bundle import Wish
from stage import PARTS, ROOT, Mcp, Stage, ask, step, until, want

DOCKER = ROOT / "deployments/docker"
# Documentation addresses (RFC 5737), on the loopback interface of a namespace of its own.
ADDRESSES = {"sample": "192.0.2.3", "redis": "192.0.2.4", "idp.localhost": "192.0.2.5"}
NAMESERVER = "127.0.0.11"


def keycloak(stage: Stage, service: dict):
    """The provider, started as the image's entry point would."""
    home = stage.work / "keycloak"
    shutil.copytree((PARTS / ".cache/keycloak").resolve(), home, symlinks=True)
    shutil.rmtree(home / "data", ignore_errors=True)
    # The one volume of the service.
    source, target, mode = service["volumes"][0].split(":")
    want((target, mode) == ("/opt/keycloak/data/import", "ro"), f"the realm is mounted at {target}")
    shutil.copytree(DOCKER / source, home / "data/import")
    options = "-Xms64m -Xmx512m -XX:MetaspaceSize=96M -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true"
    return stage.server("idp", home / "bin/kc.sh", *service["command"], env={**service["environment"], "JAVA_OPTS": options})


def redis(stage: Stage, service: dict):
    """Redis, by the command of its service; only the folders are others."""
    folders = {"/run/redis": stage.work / "redis-run", "/data": stage.work / "redis-data"}
    command = service["command"]
    for inside, here in folders.items():
        here.mkdir()
        command = [part.replace(inside, str(here)) for part in command]
    return stage.server("redis", *command, env=service["environment"])


def healthy(service: dict) -> bool:
    """Runs the health check of a service."""
    kind, *command = service["healthcheck"]["test"]
    command = command if kind == "CMD" else ["sh", "-c", *command]
    env = {"PATH": os.environ["PATH"], **service["environment"]}
    return subprocess.run(command, env=env, capture_output=True, timeout=30, check=False).returncode == 0


def main(stage: Stage, variables: Path, image: Path) -> None:
    services = compose.load(DOCKER / "docker-compose.yml", variables / ".env")["services"]
    for address in ADDRESSES.values():
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    names = [f"{name}={address}" for name, address in ADDRESSES.items()]
    names_server = stage.server("names", sys.executable, ROOT / "deployments/verify/container/dns.py", NAMESERVER, *names)
    provider = keycloak(stage, services["idp"])
    redis(stage, services["redis"])
    port = int(services["sample"]["environment"]["PORT"])
    stage.everything(port)
    until("names are served", lambda: "ready" in names_server.log.read_text())
    until("the health check of redis passes", lambda: healthy(services["redis"]), 20)
    step("redis is healthy, and wants its password")
    open_redis = subprocess.run(["redis-cli", "-h", ADDRESSES["redis"], "ping"], capture_output=True, text=True, check=False)
    want("NOAUTH" in open_redis.stdout + open_redis.stderr, f"Redis without a password: {open_redis.stdout}")

    # The proxy comes before the provider is there: it waits by itself.
    service = services["proxy"]
    mounts = {
        stage.file("resolv.conf", f"nameserver {NAMESERVER}\noptions ndots:0\n"): "/etc/resolv.conf",
        stage.file("hosts", "127.0.0.1 localhost\n"): "/etc/hosts",
    }
    tmpfs = tuple(each.split(":")[0] for each in service["tmpfs"])
    wish = Wish(env=dict(service["environment"]), mounts=mounts, tmpfs=tmpfs, netns="/proc/self/ns/net")
    proxy = stage.container("proxy", image, wish).start()
    until("the proxy's health check passes", proxy.healthy)
    step("the proxy is healthy before the provider is")
    until("the health check of the provider passes", lambda: provider.process.poll() is None and healthy(services["idp"]), 900)
    step("the provider is healthy, with the realm in it")
    until("everything is healthy", lambda: json.loads(ask("GET", "http://localhost:8080/health")[2])["status"] == "healthy")
    step("the proxy found all three by the names that Compose gives them (DNS)")

    # The commands of docs/install/compose.md, as they are printed there.
    page = (ROOT / "docs/install/compose.md").read_text()
    commands = next(block for block in re.findall(r"```sh\n(.*?)```", page, re.S) if "tools/call" in block)
    done = subprocess.run(["sh", "-eu", "-c", commands], cwd=variables, capture_output=True, text=True, timeout=60, check=False)
    want(done.returncode == 0 and "Echo: hello" in done.stdout, f"the commands of compose.md: {done.stdout}{done.stderr}")
    step("the commands of docs/install/compose.md, as printed, come to a tool call with the API key of .env")
    # A person's browser takes every name under .localhost for this machine.
    hosts = stage.file("browser-hosts", f"127.0.0.1 localhost\n{ADDRESSES['idp.localhost']} idp.localhost\n")
    seen = stage.visit("http://localhost:8080/mcp", "ann", "echo", {"message": "signed in"}, hosts)
    want(seen["logins"] == 1 and seen["text"] == "Echo: signed in", f"{seen}")
    step("the official client finds the sign-in, ann signs in at Keycloak and agrees, and the tool answers")
    for arguments in (["check-config", "--online"], ["version"]):
        done = proxy.execute("/usr/local/bin/mcp-oidc-proxy", *arguments)
        want(done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}")
    step("`check-config --online` inside of the container: provider, Redis and server answer")

    # What a person keeps over a crash: the client's session goes on, with the tokens that it has.
    client = Mcp("http://localhost:8080/mcp", {"X-API-Key": service["environment"]["MCP_API_KEY"]})
    want(proxy.end("KILL") == 137, "SIGKILL")
    again = stage.container("proxy-again", image, wish).start()
    until("healthy again", again.healthy)
    want(client.call("echo", {"message": "still"}) == "Echo: still", "the MCP session is gone")
    step("after a crash of the proxy an MCP session goes on")
    want(again.end() == 0, "SIGTERM")
    step("SIGTERM: exit code 0")


if __name__ == "__main__":
    with Stage() as it:
        main(it, Path(sys.argv[1]), Path(sys.argv[2]))
