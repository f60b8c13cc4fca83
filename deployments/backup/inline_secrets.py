#!/usr/bin/env python3
"""Says whether a text file has secrets written in it, by the names of its keys and the look of its values.

usage: inline_secrets.py FILE    exit code 0: it has, with the lines; 1: none were seen; 2: it could not be read

It would rather take a plain value for a secret than the other way round. References are none: { env: … },
{ file: … }, { credential: … }, { vault: … }, { aws_secret: … }, { aws_parameter: … }, and ${NAME}.
"""
import re
import sys

# Keys of the configuration that hold secrets, and what people call such things in headers and environment files.
NAMED = re.compile(
    r"""(?<![\w.-])["']?(?P<name>[\w.-]*(?:secret|secret_keys|signing_keys?|private_key|password|passwd|bearer|token"""
    r"""|api[_-]?key|cookie|authorization)|key|value|x-[\w-]*key)["']?\s*[:=]\s*""",
    re.IGNORECASE)
# Names that look like those, and hold none.
HARMLESS = re.compile(r"(^|_)(sha256|file|path|name|header|audience|lifetime|id|uri|url)$", re.IGNORECASE)
REFERENCE = re.compile(r"""^["']?(\{\s*(env|file|credential|vault|aws_secret|aws_parameter)\s*:|\$\{\w+\}|\[\s*\{\s*(env|file|credential|vault|aws_\w+)\s*:|\[\s*\]|(true|false|null|~|\d{1,6}|[\d.]+(ms|s|m|h|d))\b)""")
USERINFO = re.compile(r"\w+://[^/@\s\"']*:[^/@\s\"'$]+@")
LONG = re.compile(r"(?<![\w./:@+=-])[A-Za-z0-9_+-][A-Za-z0-9_+/-]{31,}={0,2}(?![\w./:@+=-])")
DIGEST = re.compile(r"sha256", re.IGNORECASE)
PEM = "PRIVATE KEY-----"


def suspicious(lines):
    block = None  # indentation of a key with a list of secrets below it
    for number, raw in enumerate(lines, 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        if block is not None:
            item = line.strip()
            if indent < block or indent == block and not item.startswith("- "):
                block = None
            elif item.startswith("- ") and not REFERENCE.match(item[2:].strip()) and ":" not in item:
                yield number
        if PEM in raw or USERINFO.search(line):
            yield number
            continue
        if LONG.search(line) and not DIGEST.search(line):
            yield number
            continue
        for found in NAMED.finditer(line):
            value = line[found.end():].strip()
            if HARMLESS.search(found["name"]) or REFERENCE.match(value):
                continue
            if not value:
                block = indent  # What it is stands in the lines below.
            elif not value.startswith("{"):  # A map's own keys are looked at by themselves.
                yield number


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="utf-8") as file:
            found = sorted(set(suspicious(file.read().splitlines())))
    except (OSError, UnicodeDecodeError, IndexError) as error:
        print(f"inline_secrets: {error}", file=sys.stderr)
        sys.exit(2)
    if found:
        print(", ".join(map(str, found)))
    sys.exit(0 if found else 1)
