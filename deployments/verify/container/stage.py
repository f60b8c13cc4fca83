"""What the scenarios share: containers, servers around them, requests, and an end to all of it."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from bundle import Wish, specification

ROOT = Path(__file__).resolve().parents[3]
PARTS = ROOT / "tests/parts"
PATIENCE = 90


def step(text: str) -> None:
    """Says that something went as it should."""
    print(f"  ok  {text}", flush=True)


def want(holds: bool, text: str) -> None:
    """Ends the scenario unless it holds."""
    if not holds:
        sys.exit(f"FAILED: {text}")


def until(what: str, check, patience: float = PATIENCE):
    """Waits until the check gives something true, and gives that back."""
    end = time.monotonic() + patience
    last = None
    while time.monotonic() < end:
        try:
            if found := check():
                return found
        except OSError as error:
            last = error
        time.sleep(0.1)
    sys.exit(f"FAILED: {what}: not within {patience} s; the last error was {last!r}")


def ask(method: str, url: str, headers: dict | None = None, body=None, timeout: float = 30):
    """One request. Gives status, headers (names in lower case) and text."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        payload = None if body is None else json.dumps(body)
        more = {"Content-Type": "application/json"} if payload else {}
        connection.request(method, parts.path or "/", payload, {**more, **(headers or {})})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text
    finally:
        connection.close()


class Mcp:
    """An MCP client of the smallest kind: one session, with a credential in a header."""

    def __init__(self, url: str, headers: dict):
        self.url = url
        self.headers = {**headers, "Accept": "application/json, text/event-stream"}
        info = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "verify", "version": "1"}}
        status, answer, text = self.post({"id": 1, "method": "initialize", "params": info})
        want(status == 200, f"initialize at {url}: {status} {text}")
        self.headers |= {"Mcp-Session-Id": answer["mcp-session-id"], "MCP-Protocol-Version": "2025-06-18"}
        status, _, text = self.post({"method": "notifications/initialized"})
        want(status == 202, f"initialized: {status} {text}")

    def post(self, message: dict):
        return ask("POST", self.url, self.headers, {"jsonrpc": "2.0", **message})

    def call(self, tool: str, arguments: dict) -> str:
        """Calls a tool and gives the text of its result."""
        status, _, text = self.post({"id": 2, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
        want(status == 200, f"{tool}: {status} {text}")
        data = [line[6:] for line in text.splitlines() if line.startswith("data: {")] or [text]
        answer = json.loads(data[-1])
        want("result" in answer, f"{tool}: {text}")
        return answer["result"]["content"][0]["text"]


class Client:
    """The official client, a person at its side, that does one thing after the other."""

    def __init__(self, stage: "Stage", url: str, login: str):
        command = ["node", PARTS / "clients/typescript.mjs", "v2", url, login, "-", "-"]
        self.log = (stage.work / "client.log").open("ab")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True)
        stage.ends.callback(self.stop)
        self.answer()

    def send(self, tool: str, arguments: dict) -> None:
        """Begins a tool call."""
        self.process.stdin.write(json.dumps({"do": "call", "tool": tool, "arguments": arguments}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict:
        """Waits for what it came to."""
        for line in self.process.stdout:
            if line.startswith('{"reply"'):
                return json.loads(line)["reply"]
        sys.exit("FAILED: the client ended")

    def call(self, tool: str, arguments: dict) -> str:
        self.send(tool, arguments)
        reply = self.answer()
        want("text" in reply, f"{tool}: {reply}")
        return reply["text"]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self.log.close()


class Container:
    """A container that is run by runc, in the foreground of a process of its own."""

    def __init__(self, stage: "Stage", name: str, image: Path, wish: Wish):
        self.stage, self.name, self.image, self.wish = stage, f"{name}-{os.getpid()}", image, wish
        self.log = stage.work / f"{name}.log"
        self.folder = stage.work / name
        self.folder.mkdir()
        self.process = None

    def start(self) -> "Container":
        said = json.loads((self.image / "image.json").read_text())
        spec = specification(said, self.image / "rootfs", self.wish)
        (self.folder / "config.json").write_text(json.dumps(spec))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.stage.runc, "run", "--bundle", self.folder, self.name], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def execute(self, *arguments: str) -> subprocess.CompletedProcess:
        """Runs a program in the container."""
        return subprocess.run([*self.stage.runc, "exec", self.name, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def healthy(self) -> bool:
        """Runs the image's health check, as a container engine would."""
        if self.process.poll() is not None:
            sys.exit(f"FAILED: {self.name} ended with {self.process.returncode}\n{self.log.read_text()[-4000:]}")
        check = json.loads((self.image / "healthcheck.json").read_text())["Test"]
        want(check[0] == "CMD", f"the health check is no command: {check}")
        return self.execute(*check[1:]).returncode == 0

    def state(self) -> dict:
        return json.loads(subprocess.run([*self.stage.runc, "state", self.name], capture_output=True, text=True, check=True).stdout)

    def kill(self, which: str) -> None:
        subprocess.run([*self.stage.runc, "kill", self.name, which], check=True)

    def end(self, which: str = "TERM", patience: float = 60) -> int:
        """Sends a signal, and gives the code that it ends with."""
        self.kill(which)
        return self.process.wait(patience)

    def stop(self) -> None:
        """The end of it, whatever state it is in."""
        subprocess.run([*self.stage.runc, "delete", "--force", self.name], capture_output=True, check=False)
        if self.process and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)


class Server:
    """A program beside the containers. It ends when its standard input closes, or by a signal."""

    def __init__(self, stage: "Stage", name: str, arguments: list, env: dict, enter: list):
        self.name = name
        self.log = stage.work / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*enter, *arguments], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env={"PATH": os.environ["PATH"], **env}, start_new_session=True
            )

    def first_line(self) -> dict:
        """The first JSON line that it prints."""

        def look():
            want(self.process.poll() is None, f"{self.name} ended\n{self.log.read_text()[-3000:]}")
            lines = self.log.read_text().splitlines()
            return next((json.loads(line) for line in lines if line.startswith("{")), None)

        return until(f"{self.name} says where it is", look)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


class Stage:
    """Everything that a scenario starts, ended in the opposite order."""

    def __init__(self):
        self.work = Path(tempfile.mkdtemp(prefix="mcp-stage-"))
        # The user in the containers reads what is mounted from here.
        self.work.chmod(0o755)
        self.runc = ["runc", "--root", str(self.work / "runc")]
        self.ends = contextlib.ExitStack()

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, kind, *_) -> None:
        self.ends.close()
        if kind is not None:
            for log in sorted(self.work.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
        subprocess.run(["rm", "-rf", self.work], check=False)

    def container(self, name: str, image: Path, wish: Wish) -> Container:
        made = Container(self, name, image, wish)
        self.ends.callback(made.stop)
        return made

    def server(self, name: str, *arguments, env: dict | None = None, enter: list | None = None) -> Server:
        made = Server(self, name, list(arguments), env or {}, enter or [])
        self.ends.callback(made.stop)
        return made

    def file(self, name: str, text: str, mode: int = 0o644) -> str:
        """Writes a file into the scenario's folder and gives its path."""
        path = self.work / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def everything(self, port: int, **more) -> Server:
        """The reference MCP server, as the sample of Compose runs it."""
        main = PARTS / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
        made = self.server("sample", "node", main, "streamableHttp", env={"PORT": str(port)}, **more)
        until("the sample server listens", lambda: "listening on port" in made.log.read_text())
        return made

    def visit(self, url: str, login: str, tool: str, arguments: dict, hosts: str = "") -> dict:
        """A visit of the official client, which learns from the 401 where to sign in; a person approves."""
        command = ["node", PARTS / "clients/typescript.mjs", "v2", url, login, tool, json.dumps(arguments)]
        done = subprocess.run([*self.with_hosts(hosts), *command], capture_output=True, text=True, timeout=PATIENCE, check=False)
        want(done.returncode == 0, f"the client failed at {url}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    @staticmethod
    def with_hosts(hosts: str) -> list:
        """What to put before a command so that it has this hosts file."""
        return ["unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh"] if hosts else []
