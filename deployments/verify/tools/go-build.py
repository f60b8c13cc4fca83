#!/usr/bin/env python3
"""Builds a command out of a Go module whose go.mod has `replace` lines, which `go install module@version` refuses.

    go-build.py TARGET MODULE@VERSION PACKAGE [LDFLAGS]

A module of its own requires the wanted one and repeats its replacements by other modules. Those by a folder beside it are left
out, for the part was released too; only Kubernetes has to be told which version of its parts that is.
"""
import json
import os
import re
import subprocess
import sys
import tempfile


def go(folder: str, *arguments: str) -> str:
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
    return subprocess.run(
        ["go", *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def replacement(module: str, version: str, entry: dict) -> str | None:
    """What stands for a replacement, or nothing if the requirement of the module itself is good."""
    old, new = entry["Old"]["Path"], entry["New"]
    if "Version" in new:
        return f"{old}={new['Path']}@{new['Version']}"
    if module == "k8s.io/kubernetes":
        # It requires its parts as v0.0.0; k8s.io/kubernetes v1.34.4 goes with k8s.io/api v0.34.4.
        return f"{old}={old}@{re.sub('^v1[.]', 'v0.', version)}"
    return None


def main() -> None:
    target, wanted, package = sys.argv[1:4]
    ldflags = sys.argv[4] if len(sys.argv) > 4 else ""
    module, version = wanted.split("@")
    with tempfile.TemporaryDirectory() as folder:
        go(folder, "mod", "init", "example.test/wrapper")
        found = json.loads(go(folder, "mod", "download", "-json", wanted))
        replacements = json.loads(go(folder, "mod", "edit", "-json", found["GoMod"])).get("Replace") or []
        for entry in replacements:
            if by := replacement(module, version, entry):
                go(folder, "mod", "edit", f"-replace={by}")
        with open(os.path.join(folder, "tools.go"), "w", encoding="utf-8") as file:
            # Keeps the requirement although nothing here calls it.
            file.write(f'//go:build tools\n\npackage tools\n\nimport _ "{package}"\n')
        go(folder, "get", wanted)
        go(folder, "build", "-trimpath", f"-ldflags=-s -w {ldflags}", "-o", os.path.abspath(target), package)


if __name__ == "__main__":
    main()
