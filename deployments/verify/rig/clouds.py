#!/usr/bin/env python3
"""Stands in for the command line tools of clouds, so that deploy scripts can be run: linked under the names aws, gcloud,
az, heroku, git, helm, docker and systemctl, it keeps what they would have changed in the file CLOUD_STATE.

An image with `bad` in its name is never ready; one with `late` stops being ready when it gets traffic. A state without
revisions is one before the first deployment.

  clouds.py serve PUBLIC_PORT CANDIDATE_PORT CERTIFICATE KEY    answers /ready for what has traffic, and for what is newest
"""
import fcntl
import json
import os
import re
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATE = os.environ["CLOUD_STATE"]
EMPTY = {"revisions": {"1": "image:1"}, "traffic": {"1": 100}, "newest": "1", "calls": [],
         "stack": {"template": "of before", "parameters": {"Image": "image:1"}}}


@contextmanager
def state():
    with open(STATE, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        held = json.loads(file.read() or json.dumps(EMPTY))
        yield held
        file.seek(0)
        file.truncate()
        json.dump(held, file)


def serve(public: str, candidate: str, certificate: str, key: str):
    class Ready(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            with state() as now:
                if self.server.server_port == int(public):
                    images = [now["revisions"][name] for name, share in now["traffic"].items() if share]
                    bad = not images or any("bad" in image or "late" in image for image in images)
                else:
                    bad = "bad" in now["revisions"][now["newest"]]
            self.send_response(503 if bad else 200)
            self.end_headers()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    for port in (public, candidate):
        server = ThreadingHTTPServer(("127.0.0.1", int(port)), Ready)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever).start()


def add(now, image: str, traffic: bool):
    name = str(len(now["revisions"]) + 1)
    now["revisions"][name] = image
    now["newest"] = name
    if traffic:
        now["traffic"] = {name: 100}


def cloudformation(now, words, line: str, public: str) -> int:
    """One stack. Parameters that a deployment does not name stay what they are."""
    stack = now.get("stack")
    if line.startswith("ecs wait"):
        return 0
    if line.startswith("cloudformation deploy"):
        stack = now.setdefault("stack", {"parameters": {}})
        stack["parameters"] |= dict(word.split("=", 1) for word in words[words.index("--parameter-overrides") + 1:])
        with open(after(words, "--template-file"), encoding="utf-8") as file:
            stack["template"] = file.read().removesuffix("\n")
        add(now, stack["parameters"]["Image"], True)
    elif stack is None:
        print("Stack with id proxy does not exist", file=sys.stderr)
        return 254
    elif line.startswith("cloudformation get-template"):
        print(stack["template"])
    elif "StackStatus" in line:
        print(stack.get("status", "UPDATE_COMPLETE"))
    elif "Parameters[]" in line:
        for name, value in stack["parameters"].items():
            print(f"{name}\t{value}")
    elif "ParameterKey=='PublicUrl'" in line:
        print(stack["parameters"].get("PublicUrl", public))
    elif "OutputKey=='BalancerName'" in line:
        print("127.0.0.1")
    elif "OutputKey" in line:
        print("name")
    else:
        raise NotImplementedError(line)
    return 0


def after(words, flag):
    return words[words.index(flag) + 1] if flag in words else ""


def main(tool: str, words: list[str]) -> int:
    public, candidate = os.environ["CLOUD_PUBLIC"], os.environ["CLOUD_CANDIDATE"]
    line = " ".join(words)
    with state() as now:
        now["calls"].append(f"{tool} {line}")
        serving = next((name for name, share in now["traffic"].items() if share), None)
        if tool == "aws":
            return cloudformation(now, words, line, public)
        elif tool == "gcloud":
            if " deploy " in line:
                assert "--no-traffic" in words
                add(now, after(words, "--image"), False)
            elif "update-traffic" in line and "--to-revisions" in words:
                now["traffic"] = {name: int(share) for name, share in (at.split("=") for at in after(words, "--to-revisions").split(","))}
            elif "latestReadyRevisionName" in line:
                print(serving)
            elif "latestCreatedRevisionName" in line:
                print(now["newest"])
            elif "--format json" in line:
                print(json.dumps({"status": {"traffic": [{"revisionName": serving}, {"tag": "candidate", "url": candidate}]}}))
            elif "status.url" in line:
                print(public)
        elif tool == "az":
            if "ingress traffic set" in line:
                shares = re.findall(r"(\d+)=(\d+)", line)
                now["traffic"] = {name: int(share) for name, share in shares}
            elif " update " in line:
                add(now, after(words, "--image"), False)
            elif "latestReadyRevisionName" in line:
                print(serving)
            elif "latestRevisionName" in line:
                print(now["newest"])
            elif "ingress.fqdn" in line:
                print(public.removeprefix("https://"))
            elif "properties.fqdn" in line:
                print(candidate.removeprefix("https://"))
        elif tool == "heroku":
            if words[0] == "releases":
                print(json.dumps([{"version": int(serving)}]))
            elif words[0] == "config:get":
                print(public)
            elif words[0] == "rollback":
                add(now, now["revisions"][words[1].removeprefix("v")], True)
        elif tool == "helm":
            if words[0] == "history":
                print(json.dumps([{"revision": int(name), "status": "deployed" if name == serving else "superseded"} for name in now["revisions"]]))
            elif words[0] == "upgrade":
                add(now, next(word for word in words if word.startswith("image.tag=")), True)
            elif words[0] == "rollback":
                add(now, now["revisions"][words[2]], True)
        elif tool == "docker":
            if " images " in line:
                repository, tag = now["revisions"][serving].split(":")
                print(json.dumps([{"Repository": repository, "Tag": tag}]))
            elif " up " in line:
                add(now, os.environ["PROXY_IMAGE"], True)
        elif tool == "systemctl" and words[0] == "restart":
            said = subprocess.run([os.environ["CLOUD_BINARY"], "--version"], check=True, capture_output=True, text=True)
            add(now, said.stdout.strip(), True)
        elif tool == "git" and words[0] == "push":
            commit = words[-1].split(":")[0]
            files = subprocess.run([os.environ["REAL_GIT"], "ls-tree", "--name-only", commit], check=True, capture_output=True, text=True)
            assert {"Procfile", "app.json", "heroku.yml", "Dockerfile", "Cargo.toml"} <= set(files.stdout.split()), files.stdout
            add(now, os.environ["NEXT_IMAGE"], True)
    return 0


if __name__ == "__main__":
    called = os.path.basename(sys.argv[0])
    if called == "clouds.py":
        serve(*sys.argv[2:])
    elif called == "git" and sys.argv[1:2] != ["push"]:
        os.execv(os.environ["REAL_GIT"], ["git", *sys.argv[1:]])
    else:
        sys.exit(main(called, sys.argv[1:]))
