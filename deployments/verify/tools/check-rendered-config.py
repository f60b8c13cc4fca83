#!/usr/bin/env python3
"""Checks the configuration in rendered Kubernetes objects with the real binary's `check-config`.

    check-rendered-config.py BINARY FILE...

The files that a pod would have below /etc/mcp-proxy (and wherever else secrets are mounted) are made in a scratch folder with
contents of the right kind; variables that the configuration names get a value. A file without a configuration is skipped.
"""
import base64
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ROOT_KEY = base64.b64encode(bytes(range(32))).decode()


def pem_key() -> str:
    return subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        check=True, capture_output=True, text=True,
    ).stdout


def certificate(folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
         "/CN=mcp.example.com", "-addext", "subjectAltName=DNS:mcp.example.com", "-keyout", str(folder / "tls.key"), "-out",
         str(folder / "tls.crt")],
        check=True, capture_output=True,
    )


def content(path: str) -> str:
    """What a secret file of this name holds in a real pod."""
    name = path.rsplit("/", 1)[-1]
    if re.search(r"root-key|audit-key", name):
        return ROOT_KEY
    if re.search(r"signing-key|assertion-key", name):
        return pem_key()
    return "a-secret-of-more-than-sixteen-bytes"


def check_config(binary: str, text: str, where: str) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        paths = set(re.findall(r"(?:file|[a-z]+_file|path): [\"']?(/[^\s\"'}]+)", text))
        for path in paths:
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if "/tls/" in path or path.endswith(".crt"):
                if not (target.parent / "tls.crt").exists():
                    certificate(target.parent)
                if not target.exists():
                    target.write_text((target.parent / "tls.crt").read_text())
            else:
                target.write_text(content(path))
            target.chmod(0o400)
            text = re.sub(rf"([\s\"'])({re.escape(path)})(?=[\s\"'}},]|$)", rf"\g<1>{target}", text)
        config = folder / "config.yaml"
        config.write_text(text)
        environment = {"PATH": os.environ["PATH"]}
        for name in re.findall(r"env: [\"']?([A-Z0-9_]+)", text):
            environment[name] = content(name.lower().replace("_", "-"))
        done = subprocess.run([binary, "--config", str(config), "check-config"], env=environment, capture_output=True, text=True)
        if done.returncode:
            return [f"{where}: {line.replace(scratch, '')}" for line in (done.stderr + done.stdout).splitlines()]
    return []


def main() -> int:
    binary, files = sys.argv[1], sys.argv[2:]
    problems, checked = [], 0
    for name in files:
        with open(name, encoding="utf-8") as file:
            for document in yaml.safe_load_all(file):
                if document and document["kind"] == "ConfigMap" and "config.yaml" in document.get("data", {}):
                    problems += check_config(binary, document["data"]["config.yaml"], name)
                    checked += 1
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{checked} configurations of {len(files)} files checked, {len(problems)} lines of problems")
    return 1 if problems or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
