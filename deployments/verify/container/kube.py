"""Runs what Kubernetes manifests say with the real binary on the loopback of a network namespace of its own: once with the
environment of guide.yaml, once with what the chart renders. Only what is left to the reader is put in: addresses.

kube.py guide MANIFEST BINARY
kube.py chart RENDERED BINARY
kube.py page RENDERED BINARY COMMANDS: what a page says to do with the pod of its values
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from stage import PARTS, Server, Stage, ask, step, until, want

PUBLIC = "http://localhost:8080"
ROOT_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
SCRIPT_KEY = "0123456789abcdef0123456789abcdef0123456789abcdef"
# As files that commands wrote, with an end of line.
SECRETS = {"root-key": ROOT_KEY + "\n", "script-key": SCRIPT_KEY + "\n"}


def documents(manifest: Path) -> list[dict]:
    return [document for document in yaml.safe_load_all(manifest.read_text()) if document]


def container_of(objects: list[dict]) -> tuple[dict, dict]:
    """The pod and the proxy's container of the Deployment that has one."""
    for document in objects:
        if document["kind"] == "Deployment":
            pod = document["spec"]["template"]["spec"]
            for container in pod["containers"]:
                if container["name"] == "mcp-oidc-proxy":
                    return pod, container
    sys.exit("FAILED: no container mcp-oidc-proxy")


def surroundings(stage: Stage) -> str:
    """Redis, the provider and an MCP server, all on this loopback. Gives the issuer."""
    redis = stage.server("redis", "redis-server", "--bind", "127.0.0.1", "--port", "6379", "--save", "", "--dir", str(stage.work))
    until("Redis listens", lambda: "Ready to accept" in redis.log.read_text())
    stage.everything(3000)
    return stage.server("provider", "node", "--no-warnings", PARTS / "oidc-provider/server.mjs", "{}").first_line()["issuer"]


def answers(server: Server, port: int, path: str) -> bool:
    want(server.process.poll() is None, f"{server.name} ended\n{server.log.read_text()[-3000:]}")
    return ask("GET", f"http://127.0.0.1:{port}{path}")[0] == 200


def probed(container: dict, server: Server, ports: dict) -> None:
    """Asks what the probes ask, until they pass."""
    for which in ("startupProbe", "livenessProbe", "readinessProbe"):
        get = container[which]["httpGet"]
        until(f"{server.name}: {which}", lambda each=get: answers(server, ports[each["port"]], each["path"]))


def visited(stage: Stage) -> None:
    status, headers, _ = ask("POST", f"{PUBLIC}/mcp", body={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    want(status == 401 and "resource_metadata" in headers["www-authenticate"], f"nobody in particular: {status}")
    told = stage.visit(f"{PUBLIC}/mcp", "ann", "echo", {"message": "through Kubernetes' manifests"})
    want("through Kubernetes' manifests" in json.dumps(told), f"the tool said {told}")


def guide(stage: Stage, manifest: Path, binary: str) -> None:
    """guide.yaml: issuer, client and target are filled in; Redis is where its Service would be."""
    objects = documents(manifest)
    named = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    _, container = container_of(objects)
    env = {}
    for source in container["envFrom"]:
        env |= named["ConfigMap", source["configMapRef"]["name"]]["data"] if "configMapRef" in source else named["Secret", source["secretRef"]["name"]]["stringData"]
    env |= {each["name"]: each["value"] for each in container["env"]}
    want(env["PUBLIC_URL"] == PUBLIC, f"another address: {env['PUBLIC_URL']}")
    issuer = surroundings(stage)
    env |= {"OIDC_DISCOVERY_URL": issuer, "OIDC_CLIENT_ID": "proxy", "OIDC_CLIENT_SECRET": "a-secret-of-the-proxy-at-the-provider"}
    env |= {"MCP_TARGET_HOST": "127.0.0.1", "REDIS_URL": env["REDIS_URL"].replace("mcp-redis", "127.0.0.1")}
    # Three pods in one namespace: each has ports of its own.
    for number in range(3):
        ports = {"http": 8080 + number, "metrics": 9090 + number}
        own = {**env, "PORT": str(ports["http"]), "METRICS_PORT": str(ports["metrics"])}
        pod = stage.server(f"pod-{number}", "env", "--chdir", str(stage.work), "-i", *(f"{name}={value}" for name, value in own.items()), binary)
        probed(container, pod, ports)
        _, _, text = ask("GET", f"http://127.0.0.1:{ports['metrics']}/health")
        want(json.loads(text)["checks"]["session_store"] == "healthy", f"{pod.name}: {text}")
    step("three pods start from the environment alone, pass their probes and share Redis")
    visited(stage)
    step("ann signs in through the first one, and the tool answers")


def pod_of(stage: Stage, objects: list[dict], binary: str, env: dict) -> tuple[Server, str]:
    """The proxy's container of a chart, with its configuration and its secret files, once its probes pass. With its hosts file."""
    pod, container = container_of(objects)
    config = next(each["data"]["config.yaml"] for each in objects if each["kind"] == "ConfigMap")
    folder = stage.work / "etc"
    for source in pod["volumes"][0]["projected"]["sources"]:
        for item in source.get("secret", {}).get("items", []):
            path = folder / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(next((value for name, value in SECRETS.items() if name in item["path"]), "a-secret-of-the-proxy-at-the-provider\n"))
    (folder / "config.yaml").write_text(config.replace("/etc/mcp-proxy/", f"{folder}/").replace("/run/mcp-proxy/", f"{stage.work}/"))
    hosts = stage.file("hosts", "127.0.0.1 localhost mcp-server.default.svc redis.default.svc mcp-mcp-oidc-proxy.prod.svc\n")
    arguments = [each.replace("/etc/mcp-proxy/", f"{folder}/") for each in container["args"]]
    proxy = stage.server("proxy", *stage.with_hosts(hosts), binary, *arguments, env=env)
    probed(container, proxy, {each["name"]: each["containerPort"] for each in container["ports"]})
    step("starts with the rendered configuration and secret files, and passes its probes")
    return proxy, hosts


def chart(stage: Stage, rendered: Path, binary: str) -> None:
    """The chart: its configuration, its secret files, its probes, its test, its end."""
    objects = documents(rendered)
    pod, container = container_of(objects)
    env = {"OIDC_DISCOVERY_URL": surroundings(stage), "OIDC_CLIENT_ID": "proxy", "PUBLIC_URL": PUBLIC}
    proxy, hosts = pod_of(stage, objects, binary, env)
    visited(stage)
    step("ann signs in, and the tool answers")
    test = next(each for each in objects if each["kind"] == "Pod")["spec"]["containers"][0]
    done = subprocess.run([*stage.with_hosts(hosts), binary, *test["args"]], capture_output=True, text=True, timeout=60, check=False)
    want(done.returncode == 0, f"what `helm test` runs: {done.stdout}{done.stderr}")
    wrong = [each.replace(".svc:8080", ".svc:8079") for each in test["args"]]
    done = subprocess.run([*stage.with_hosts(hosts), binary, *wrong], capture_output=True, timeout=60, check=False)
    want(done.returncode != 0, "what `helm test` runs cannot fail")
    step("what `helm test` runs says so, and can say otherwise")
    began = time.monotonic()
    time.sleep(container["lifecycle"]["preStop"]["sleep"]["seconds"])
    os.killpg(proxy.process.pid, signal.SIGTERM)
    code = proxy.process.wait(60)
    took = time.monotonic() - began
    want(code == 0, f"ended with {code}")
    want(took < pod["terminationGracePeriodSeconds"], f"took {took:.0f} s")
    step(f"ends with 0 after {took:.0f} s of a grace period of {pod['terminationGracePeriodSeconds']} s")


def page(stage: Stage, rendered: Path, binary: str, commands: str) -> None:
    """The commands of a page, to a tool call. Only kubectl stands in for itself: it gives the key of the Secret."""
    surroundings(stage)
    pod_of(stage, documents(rendered), binary, {})
    folder = stage.work / "bin"
    folder.mkdir()
    kubectl = folder / "kubectl"
    key = base64.b64encode(SECRETS["script-key"].encode()).decode()
    kubectl.write_text(f"#!/bin/sh\necho {key}\n")
    kubectl.chmod(0o755)
    call = '{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"message":"by the page"}}}'
    script = f"""{Path(commands).read_text()}
proxy -H "X-API-Key: $KEY" -H "Mcp-Session-Id: $SESSION" -H 'Mcp-Protocol-Version: 2025-11-25' -d '{call}'
"""
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=stage.work, env=env, capture_output=True, text=True, timeout=60, check=False)
    print(done.stdout + done.stderr)
    want(done.returncode == 0 and done.stdout.startswith("401\n"), "nobody in particular is not let in")
    for part in ('"protocolVersion":"2025-11-25"', '"tools":[', "by the page"):
        want(part in done.stdout, f"the page's commands did not give {part}")
    step("the page's commands give a session, the list of tools, and a tool's answer")


if __name__ == "__main__":
    with Stage() as it:
        {"guide": guide, "chart": chart, "page": page}[sys.argv[1]](it, Path(sys.argv[2]), *sys.argv[3:])
