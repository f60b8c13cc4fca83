#!/usr/bin/env python3
"""What the pages for operators print, compared with what there is. Each finding is a line; exit code 1 with any.

lint.py names      services of `docker compose`, names of containers, `-n` of kubectl and helm, release and Deployment
lint.py outputs    every section of an alert shows commands and what they print, or links to a section that does

Needs PyYAML.
"""

import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
RUNBOOKS = sorted((ROOT / "docs/runbooks").glob("*.md"))
FOR_OPERATORS = [*RUNBOOKS, *(ROOT / "docs" / name for name in ("operations.md", "troubleshooting.md"))]

# Subcommands of `docker compose` that take services, with the flags of ours that take a word.
TAKE_SERVICES = ("build", "create", "exec", "kill", "logs", "pause", "port", "ps", "pull", "restart", "rm", "run", "start", "stop", "top", "up")
WITH_A_WORD = {"-f", "--file", "--profile", "--env-file", "-p", "--project-name", "--since", "--tail", "-n", "--timeout", "-t", "--scale", "-e", "-u", "-w"}
# What prints nothing when it goes well, or only progress.
SILENT = ("cd", "cp", "install", "kill", "echo", "systemctl", "certbot")

found = []


def wrong(path, number, what):
    found.append(f"{path.relative_to(ROOT)}:{number}: {what}")


def pages():
    return [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]


def services():
    """Of all Compose files, with the name of the containers that pages give with --name."""
    every = set()
    for path in (ROOT / "deployments").rglob("*compose*.yml"):
        every |= set(yaml.safe_load(path.read_text()).get("services") or {})
    containers = {name for path in pages() for name in re.findall(r"docker run [^`]*?--name ([\w-]+)", path.read_text())}
    return every, containers


def composed(line):
    """The services that a line names, after each `docker compose`."""
    for text in re.findall(r"docker compose ([^`|;&#]*)", line):
        words = text.split()
        at, known = 0, None
        while at < len(words):
            word = words[at]
            at += 1 + (word in WITH_A_WORD)
            if word.startswith("-"):
                continue
            if known is None:
                known = word
                if known not in TAKE_SERVICES:
                    break
            else:
                yield word
                if known in ("exec", "run"):
                    break  # the rest is the command inside


def names():
    compose, containers = services()
    for path in pages():
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name in composed(line):
                if name not in compose:
                    wrong(path, number, f"`docker compose` with `{name}`, which is no service: {', '.join(sorted(compose))}")
            for text in re.findall(r"docker (?:logs|exec|restart|kill|inspect) ([^`|;&#']*)", line):
                words = text.split()
                plain = [word for at, word in enumerate(words) if not word.startswith("-") and (at == 0 or words[at - 1] not in WITH_A_WORD)]
                if plain and plain[0] not in containers:
                    wrong(path, number, f"a container `{plain[0]}`, which no page starts: {', '.join(sorted(containers))}")
    for path in FOR_OPERATORS:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for text in re.findall(r"(?:kubectl|helm) [^`|;&#]*", line):
                words = text.split()
                if len(words) < 3 and words[1:] != ["list"]:
                    continue  # the name of a command
                if "-n" not in words and "--local" not in words:
                    wrong(path, number, f"without -n: {text.strip()}")
                elif "-n" in words and words[words.index("-n") + 1] != "mcp-system":
                    wrong(path, number, f"another namespace than mcp-system: {text.strip()}")
                if words[0] == "helm" and words[1] != "list" and "mcp-oidc-proxy" not in words:
                    wrong(path, number, f"another release than mcp-oidc-proxy: {text.strip()}")
                for name in re.findall(r"deployment[/ ]([\w-]+)", text):
                    if name != "mcp-oidc-proxy":
                        wrong(path, number, f"another Deployment than mcp-oidc-proxy: {text.strip()}")


def sections():
    """Page, heading, its anchor, line and text of every section of the runbooks."""
    for path in RUNBOOKS:
        text = path.read_text()
        for head in re.finditer(r"^##+ (.*)\n", text, re.M):
            until = re.compile(r"^## ", re.M).search(text, head.end())
            anchor = re.sub(r"[^\w -]", "", head[1].lower()).replace(" ", "-")
            yield path, head[1], anchor, text.count("\n", 0, head.start()) + 1, text[head.end():until.start() if until else len(text)]


def shown(text):
    """The console blocks: lines of commands, and lines of what they print."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.S | re.M):
        yield re.split(r"^\$ ", block, flags=re.M)[1:]


def outputs():
    every = list(sections())
    full = {(path.name, anchor) for path, _, anchor, _, text in every if any(True for _ in shown(text))}
    alerts = set(re.findall(r"- alert: (\w+)", (ROOT / "deployments/monitoring/rules/alerts.yml").read_text()))
    for path, title, anchor, number, text in every:
        if title.startswith("McpProxy"):
            if title not in alerts:
                wrong(path, number, f"there is no alert {title}")
            links = {(file or path.name, to) for file, to in re.findall(r"\]\(([\w-]*\.?(?:md)?)#([\w-]+)\)", text)}
            if (path.name, anchor) not in full and not links & full:
                wrong(path, number, f"{title} shows no command with its output, and links to no section that does")
        for block in shown(text):
            for command in block:
                line, _, printed = command.partition("\n")
                name = re.split(r"[ ;]", line)[0]
                if not printed.strip() and name not in SILENT:
                    wrong(path, number, f"in '{title}' nothing is printed for: {line}")


def main():
    {"names": names, "outputs": outputs}[sys.argv[1]]()
    for each in dict.fromkeys(found):
        print(each)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
