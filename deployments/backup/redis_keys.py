#!/usr/bin/env python3
"""Saves the proxy's keys from a running Redis and puts them back into another, without stopping either.

  redis_keys.py save FILE      reads REDIS_URL; walks with SCAN, never with KEYS
  redis_keys.py load FILE      keeps keys that are there already unless --replace
  redis_keys.py count          how many keys there are, by kind

What is saved is sealed under the proxy's secret_keys: without those it opens for nobody. The file has one key in a line,
as JSON: name, value as DUMP gives it, and when it ends. Only Python's own library is needed.
With Redis Cluster, run it once for each primary. With Sentinel, name the primary.
"""
import argparse
import base64
import json
import os
import socket
import ssl
import sys
import time
from collections import Counter
from urllib.parse import unquote, urlsplit

BATCH = 200  # keys asked for at once


class Refused(Exception):
    """An error that Redis answered."""


class Redis:
    """A connection that speaks as much of RESP2 as is needed here."""

    def __init__(self, url: str, ca_file: str | None):
        at = urlsplit(url)
        if at.scheme not in ("redis", "rediss") or not at.hostname:
            raise SystemExit("REDIS_URL has to look like redis://host:6379/0, or rediss:// for TLS")
        self.socket = socket.create_connection((at.hostname, at.port or 6379), 10)
        if at.scheme == "rediss":
            self.socket = ssl.create_default_context(cafile=ca_file).wrap_socket(self.socket, server_hostname=at.hostname)
        self.socket.settimeout(60)
        self.reader = self.socket.makefile("rb")
        user = os.environ.get("REDIS_USERNAME") or unquote(at.username or "")
        password = os.environ.get("REDIS_PASSWORD") or unquote(at.password or "")
        if password:
            self.call("AUTH", *([user] if user else []), password)
        if at.path.strip("/"):
            self.call("SELECT", at.path.strip("/"))

    def send(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.socket.sendall(b"".join(parts))

    def receive(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise SystemExit("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return Refused(rest.decode(errors="replace"))
        if kind == b"+":
            return rest
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            if length < 0:
                return None
            data = self.reader.read(length + 2)
            if len(data) != length + 2:
                raise SystemExit("Redis closed the connection")
            return data[:-2]
        if kind == b"*":
            return [self.receive() for _ in range(int(rest))]
        raise SystemExit(f"Redis sent what is no RESP2: {line[:40]!r}")

    def call(self, *words):
        self.send(*words)
        answer = self.receive()
        if isinstance(answer, Refused):
            # The command's name only: AUTH has a password behind it.
            raise SystemExit(f"Redis refused {words[0]}: {answer}")
        return answer

    def keys(self, prefix: str):
        """Every key below the prefix, in batches. SCAN may name one twice."""
        cursor = b"0"
        while True:
            cursor, found = self.call("SCAN", cursor, "MATCH", prefix + "*", "COUNT", BATCH)
            if found:
                yield found
            if cursor == b"0":
                return


def kind(name: bytes, prefix: str) -> str:
    return name.decode(errors="replace")[len(prefix):].split(":")[0]


def save(redis: Redis, path: str, prefix: str) -> Counter:
    seen: Counter = Counter()
    written: set[bytes] = set()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        for found in redis.keys(prefix):
            names = [name for name in dict.fromkeys(found) if name not in written]
            for name in names:
                redis.send("DUMP", name)
                redis.send("PTTL", name)
            for name in names:
                value, left = redis.receive(), redis.receive()
                for answer in (value, left):
                    if isinstance(answer, Refused):
                        raise SystemExit(f"Redis refused DUMP or PTTL: {answer}; the user needs +scan +dump +pttl")
                if value is None or left == -2:
                    continue  # It ended meanwhile.
                ends = 0 if left < 0 else int(time.time() * 1000) + left
                file.write(json.dumps({"key": base64.b64encode(name).decode(), "ends": ends,
                                       "value": base64.b64encode(value).decode()}) + "\n")
                written.add(name)
                seen[kind(name, prefix)] += 1
    return seen


def load(redis: Redis, path: str, prefix: str, replace: bool, only: set[str]) -> Counter:
    done: Counter = Counter()
    now = int(time.time() * 1000)

    def put(lines):
        for record in lines:
            words = ["RESTORE", base64.b64decode(record["key"]), record["ends"], base64.b64decode(record["value"]), "ABSTTL"]
            redis.send(*words, *(["REPLACE"] if replace else []))
        for _ in lines:
            answer = redis.receive()
            if not isinstance(answer, Refused):
                done["restored"] += 1
            elif str(answer).startswith("BUSYKEY"):
                done["kept"] += 1
            else:
                raise SystemExit(f"Redis refused RESTORE: {answer}")

    batch = []
    with open(path, encoding="ascii") as file:
        for line in file:
            record = json.loads(line)
            name = base64.b64decode(record["key"])
            if not name.startswith(prefix.encode()):
                raise SystemExit(f"the file has a key that does not begin with {prefix!r}; nothing of it is restored from here on")
            if only and kind(name, prefix) not in only:
                done["left out"] += 1
            elif record["ends"] and record["ends"] <= now:
                done["ended"] += 1
            else:
                batch.append(record)
            if len(batch) == BATCH:
                put(batch)
                batch = []
    put(batch)
    return done


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["save", "load", "count"])
parser.add_argument("file", nargs="?")
parser.add_argument("--prefix", default="mcp:", help="sessions.redis.key_prefix (default mcp:)")
parser.add_argument("--ca-file", help="CA of a rediss:// address, instead of the system's")
parser.add_argument("--replace", action="store_true", help="overwrite keys that are there already")
parser.add_argument("--only", action="append", default=[], help="only this kind of key (install, session, …); repeatable")
given = parser.parse_args()
if given.what != "count" and not given.file:
    parser.error("a file is needed")
if not os.environ.get("REDIS_URL"):
    parser.error("set REDIS_URL; the password may stand in REDIS_PASSWORD instead")
try:
    connection = Redis(os.environ["REDIS_URL"], given.ca_file)
    if given.what == "save":
        result = save(connection, given.file, given.prefix)
    elif given.what == "load":
        result = load(connection, given.file, given.prefix, given.replace, set(given.only))
    else:
        result = Counter(kind(name, given.prefix) for found in connection.keys(given.prefix) for name in found)
except OSError as error:
    sys.exit(f"Redis cannot be reached: {error}")
print(json.dumps(dict(result), sort_keys=True))
