"""Plays the kubelet to a pod: an MCP server with the proxy as its sidecar, both containers in one network namespace, as the
manifests in deployments/sidecar say. Only what they leave to the reader is put in: addresses, and the server's image.

sidecar.py MANIFEST IMAGE POD       in the namespace outside; POD is that of the pod

Outside is 192.0.2.1 (provider, Redis, the node with its probes, everybody), the pod 192.0.2.2.
"""

import http.client
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml
from bundle import Wish
from stage import PARTS, ROOT, Client, Container, Stage, ask, step, until, want

OUTSIDE, POD = "192.0.2.1", "192.0.2.2"
SECRETS = {"client-secret": "a-secret-of-the-proxy-at-the-provider", "root-key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}


class Pipe(socketserver.BaseRequestHandler):
    """One connection to the Service of the pod: localhost outside, as a port-forward has it."""

    def handle(self):
        with socket.create_connection((POD, 8080)) as there:
            back = threading.Thread(target=copy, args=(there, self.request))
            back.start()
            copy(self.request, there)
            back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Hands bytes on until there are no more."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Kubelet:
    """What the kubelet does with the containers of one pod."""

    def __init__(self, stage: Stage, manifest: Path, image: Path, netns: str):
        self.stage, self.image, self.netns = stage, image, netns
        documents = list(yaml.safe_load_all(manifest.read_text()))
        named = {document["kind"]: document for document in documents}
        self.config = named["ConfigMap"]["data"]["config.yaml"]
        self.pod = named["Deployment"]["spec"]["template"]["spec"]
        self.policy = named["NetworkPolicy"]["spec"]
        self.native = bool(self.pod.get("initContainers"))
        every = [*self.pod.get("initContainers", []), *self.pod["containers"]]
        self.proxy, self.server = (next(each for each in every if (each["name"] == "mcp-oidc-proxy") == yes) for yes in (True, False))
        self.hosts = stage.file("pod-hosts", f"127.0.0.1 localhost\n{OUTSIDE} redis.default.svc\n")

    def volume(self) -> str:
        """The projected volume: the configuration, and the secrets beside it."""
        folder = self.stage.work / "config"
        (folder / "secrets").mkdir(parents=True)
        (folder / "config.yaml").write_text(self.config)
        for source in next(each["projected"]["sources"] for each in self.pod["volumes"] if "projected" in each):
            for item in source.get("secret", {}).get("items", []):
                (folder / item["path"]).write_text(SECRETS[item["key"]])
        group = self.pod["securityContext"]["fsGroup"]
        for path in folder.rglob("*"):
            os.chown(path, 0, group)
            path.chmod(0o550 if path.is_dir() else 0o440)
        return str(folder)

    def start_proxy(self, env: dict) -> Container:
        """Starts the proxy as its container says."""
        security = self.proxy["securityContext"]
        want(security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]} and not security["allowPrivilegeEscalation"], "not hardened")
        want(self.pod["securityContext"]["runAsUser"] == 65532, "another user")
        mounts = {self.volume(): "/etc/mcp-proxy", self.hosts: "/etc/hosts"}
        wish = Wish(env=env, arguments=self.proxy["args"], mounts=mounts, tmpfs=("/run/mcp-proxy",), netns=self.netns)
        return self.stage.container("proxy", self.image, wish).start()

    def start_server(self) -> Container:
        """Starts the MCP server with the variables of its container; the image is this machine's Node."""
        image = self.stage.work / "server-image"
        root = image / "rootfs"
        for name in ("usr", "srv", "proc", "dev", "etc"):
            (root / name).mkdir(parents=True)
        for name in ("bin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        said = {"config": {"User": "65532:65532", "Entrypoint": ["/usr/bin/node", "/srv/verify/server.mjs"], "Env": ["PATH=/usr/bin"]}}
        (image / "image.json").write_text(json.dumps(said))
        files = self.stage.work / "server-files"
        files.mkdir()
        shutil.copy(ROOT / "deployments/verify/container/server.mjs", files)
        mounts = {"/usr": "/usr", str((PARTS / "node_modules").resolve()): "/srv/node_modules", str(files): "/srv/verify"}
        env = {each["name"]: each["value"] for each in self.server["env"]}
        return self.stage.container("server", image, Wish(env=env, mounts=mounts, netns=self.netns)).start()

    def probe(self, container: dict, which: str) -> bool:
        """One HTTP probe, from the node to the pod's address."""
        get = container[which]["httpGet"]
        port = get["port"]
        if isinstance(port, str):
            port = next(each["containerPort"] for each in container["ports"] if each["name"] == port)
        connection = http.client.HTTPConnection(POD, port, timeout=container[which].get("timeoutSeconds", 1))
        try:
            connection.request("GET", get["path"], headers={each["name"]: each["value"] for each in get.get("httpHeaders", [])})
            return 200 <= connection.getresponse().status < 400
        except OSError:
            return False
        finally:
            connection.close()


def unreachable(port: int) -> bool:
    """Nobody listens there on the pod's address."""
    try:
        socket.create_connection((POD, port), timeout=3).close()
    except ConnectionRefusedError:
        return True
    return False


def main(stage: Stage, manifest: Path, image: Path, pod: str) -> None:
    netns = f"/run/netns/{pod}"
    redis = stage.server("redis", "redis-server", "--bind", OUTSIDE, "--protected-mode", "no", "--save", "", "--dir", str(stage.work))
    until("Redis listens", lambda: "Ready to accept" in redis.log.read_text())
    options = json.dumps({"host": OUTSIDE})
    issuer = stage.server("provider", "node", "--no-warnings", PARTS / "oidc-provider/server.mjs", options).first_line()["issuer"]
    service = socketserver.ThreadingTCPServer(("127.0.0.1", 8080), Pipe)
    service.daemon_threads = True
    threading.Thread(target=service.serve_forever, daemon=True).start()

    kubelet = Kubelet(stage, manifest, image, netns)
    # What the manifest leaves to the reader. Its own host name goes on being answered, for the probe asks for it.
    host = next(line.split("//")[1] for line in kubelet.config.splitlines() if line.startswith("public_url:"))
    env = {
        "PUBLIC_URL": "http://localhost:8080",
        "OIDC_DISCOVERY_URL": issuer,
        "OIDC_CLIENT_ID": "proxy",
        "MCP_PROXY__ALLOWED_HOSTS": f"[{host}]",
    }
    proxy = kubelet.start_proxy(env)
    if not kubelet.native:
        server = kubelet.start_server()
    until("the startup probe passes", lambda: kubelet.probe(kubelet.proxy, "startupProbe"))
    want(kubelet.probe(kubelet.proxy, "livenessProbe"), "the liveness probe")
    if kubelet.native:
        step("the native sidecar has started before there is a server: startup and liveness probe pass")
        want(not kubelet.probe(kubelet.server, "readinessProbe"), "the server is ready without being there")
        server = kubelet.start_server()
    for container in (kubelet.proxy, kubelet.server):
        until(f"the readiness probe of {container['name']} passes", lambda each=container: kubelet.probe(each, "readinessProbe"))
    step("both are ready; the server's probe goes by way of the proxy")

    port = int(next(each["value"] for each in kubelet.server["env"] if each["name"] == "PORT"))
    inside = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
    done = subprocess.run(["nsenter", f"--net={netns}", sys.executable, "-c", inside], capture_output=True, check=False)
    want(done.returncode == 0, f"the server does not listen on the pod's loopback: {done.stderr}")
    want(unreachable(port), f"the server's own port {port} can be reached from outside of the pod")
    allowed = [each.get("port") for rule in kubelet.policy["ingress"] for each in rule["ports"]]
    want(port not in allowed and "server" not in allowed, f"the network policy lets others to the server: {allowed}")
    step(f"the server's port {port} answers on the pod's loopback, and refuses everybody outside")
    status, headers, _ = ask("POST", "http://localhost:8080/mcp", body={"jsonrpc": "2.0", "id": 1, "method": "ping"})
    want(status == 401 and "resource_metadata" in headers["www-authenticate"], f"nobody in particular: {status}")
    client = Client(stage, "http://localhost:8080/mcp", "ann")
    text = client.call("echo", {"message": "by the sidecar"})
    want(text == "Echo: by the sidecar", text)
    step("a client without a token is 401, finds the sign-in, ann signs in and agrees, and the tool answers")

    # The pod is deleted while a call is under way.
    client.send("wait", {"seconds": 4})
    time.sleep(1)
    began = time.monotonic()
    hook = kubelet.server["lifecycle"]["preStop"]
    pause = int(hook["sleep"]["seconds"] if "sleep" in hook else hook["exec"]["command"][1])
    if kubelet.native:
        # The server first: its preStop hook, SIGTERM; then the sidecar.
        reply = client.answer()
        want(reply.get("text") == "waited", f"the call under way: {reply}")
        want(time.monotonic() - began < pause, "the call took longer than the hook")
        want(client.call("echo", {"message": "meanwhile"}) == "Echo: meanwhile", "a call during the hook")
        time.sleep(max(0.0, pause - (time.monotonic() - began)))
        want(server.end() == 0, "the server was killed")
        want(kubelet.probe(kubelet.proxy, "livenessProbe"), "the sidecar did not outlive the server")
        code = proxy.end()
        step("deleted: calls go on during the server's hook, the server ends, then the sidecar, each with 0")
    else:
        # Both at once: the proxy is told to end while the server's hook still sleeps.
        proxy.kill("TERM")
        until("not ready", lambda: not kubelet.probe(kubelet.proxy, "readinessProbe"), 3)
        reply = client.answer()
        want(reply.get("text") == "waited", f"the call under way: {reply}")
        code = proxy.process.wait(60)
        want(time.monotonic() - began < pause, f"the proxy needed longer than the server's hook of {pause} s")
        want(server.state()["status"] == "running", "the server did not outlive the proxy")
        # The rest of the hook would only be waited for.
        want(server.end() == 0, "the server was killed")
        step("deleted: not ready at once, the call under way comes to its end, the proxy ends before the server does")
    took = time.monotonic() - began
    want(code == 0, f"the proxy ended with {code}")
    want(took < kubelet.pod["terminationGracePeriodSeconds"], f"it took {took:.0f} s, longer than the grace period")
    step(f"exit code 0, {took:.0f} s of a grace period of {kubelet.pod['terminationGracePeriodSeconds']} s")
    service.shutdown()


if __name__ == "__main__":
    with Stage() as it:
        main(it, Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
