#!/usr/bin/env python3
"""Stands in for systemctl where one service runs: UNIT_STATE is a folder with the file `command` (what ExecStart says),
`pid` of what runs, and `stuck`, if a restart shall leave the old process be. What answers at CLOUD_PUBLIC follows the
process: the last line of its file names it, as `image:…`.

A unit that is started from UNIT_FOLDER is the question whether a program accepts the configuration; one whose name ends
in `refused` does not.
"""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from clouds import add, state

home, units = Path(os.environ["UNIT_STATE"]), Path(os.environ["UNIT_FOLDER"])
SERVICE = "mcp-oidc-proxy"


def pid() -> int:
    return int((home / "pid").read_text()) if (home / "pid").exists() else 0


def name(path) -> str:
    return Path(path).read_bytes().rsplit(b"\n", 1)[-1].decode()


def main(words: list[str]) -> int:
    command = (home / "command").read_text().split()
    with state() as now:
        now["calls"].append(" ".join(["systemctl", *words]))
        if words[0] == "show" and not command:
            print()
        elif words[0] == "show":
            assert words[1] == "--property" and words[3:] == ["--value", SERVICE], words
            print({"MainPID": pid(), "ExecStart": f"{{ path={command[0]} ; argv[]={' '.join(command)} ; ignore_errors=no ; start_time=[n/a] ; "
                   "stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }"}[words[2]])
        elif words[0] == "cat":
            print(f"# /etc/systemd/system/{SERVICE}.service\n[Service]\nEnvironment=ITS=own\nExecStart={' '.join(command)}")
        elif words[0] == "start":
            text = (units / words[1]).read_text()
            asked = re.findall(r"^ExecStart=(\S+) (.*)$", text, re.M)[-1]
            assert "Environment=ITS=own" in text and asked[1] == " ".join([*command[1:], "check-config"]), text
            said = re.search(r"^StandardOutput=file:(.*)$", text, re.M)[1]
            refused = name(asked[0]).endswith("refused")
            Path(said).write_text("it is wrong\n" if refused else "ok\n")
            return 1 if refused else 0
        elif words[0] == "restart" and not (home / "stuck").exists():
            if pid():
                os.kill(pid(), signal.SIGKILL)
            started = subprocess.Popen([command[0], "600"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
            (home / "pid").write_text(f"{started.pid}\n")
            add(now, name(command[0]), True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
