#!/usr/bin/env python3
"""Talks to the proxy through what stands in front of it, and fails unless everything comes as it is sent.

usage: front.py --connect PORT --backend PORT --ca FILE --key API_KEY [--host NAME] [--from ADDRESS]
"""
import argparse
import base64
import http.client
import json
import os
import socket
import ssl
import uuid

parser = argparse.ArgumentParser()
parser.add_argument("--connect", type=int, required=True, help="port of the TLS front on 127.0.0.1")
parser.add_argument("--backend", type=int, required=True, help="port of backend.py, to release its streams")
parser.add_argument("--ca", required=True)
parser.add_argument("--key", required=True)
parser.add_argument("--host", default="mcp.example.com")
parser.add_argument("--from", dest="source", default="127.0.0.2", help="address to connect from")
given = parser.parse_args()

PATIENCE = 10
tls = ssl.create_default_context(cafile=given.ca)
tls.set_alpn_protocols(["http/1.1"])


class Front(http.client.HTTPSConnection):
    """Connects to loopback, whatever name the certificate and the request are for."""

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", given.connect), PATIENCE, (given.source, 0))
        self.sock = tls.wrap_socket(plain, server_hostname=given.host)


def ask(method, path, body=None, **headers):
    connection = Front(given.host)
    every = {"X-API-Key": given.key, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, body, every)
    return connection.getresponse()


def release(ticket):
    direct = http.client.HTTPConnection("127.0.0.1", given.backend, timeout=PATIENCE)
    direct.request("POST", f"/release?ticket={ticket}", b"")
    assert direct.getresponse().status == 200


def call(number, method, params, **headers):
    body = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    return ask("POST", "/mcp", body, Content_Type="application/json",
               Accept="application/json, text/event-stream", **headers)


# A session, and a call that is answered at once.
begun = call(1, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {},
                               "clientInfo": {"name": "front", "version": "1"}})
assert begun.status == 200, (begun.status, begun.read())
session = begun.getheader("Mcp-Session-Id")
begun.read()
mine = {"Mcp_Session_Id": session, "MCP_Protocol_Version": "2025-06-18"}
answer = call(2, "tools/call", {"name": "echo", "arguments": {"word": "hello"}}, **mine)
assert answer.status == 200 and b"hello" in answer.read(), answer.status

# An event stream: the second event is sent only after we had the first. Whoever holds the first back gets nothing more.
ticket = uuid.uuid4().hex
stream = call(3, "tools/call", {"name": "wait", "arguments": {"ticket": ticket}}, **mine)
assert stream.status == 200 and stream.getheader("Content-Type", "").startswith("text/event-stream"), stream.status
seen = b""
while b"\n\n" not in seen:
    piece = stream.read1(4096)
    assert piece, "the stream ended before its first event"
    seen += piece
assert b'"first"' in seen and ticket.encode() not in seen, seen
release(ticket)
seen += stream.read()
assert ticket.encode() in seen, seen
print("event stream: the first event came before the second was sent")

# The same of an answer that is no event stream, on a route for pages.
ticket = uuid.uuid4().hex
drip = ask("GET", f"/drip?ticket={ticket}")
assert drip.status == 200, drip.status
first = drip.read1(4096)
assert first == b"first\n", first
release(ticket)
assert drip.read() == b"second\n"
print("plain answer: the first line came before the second was sent")

# A WebSocket.
connection = Front(given.host)
connection.connect()
key = base64.b64encode(os.urandom(16)).decode()
connection.sock.sendall((
    f"GET /ws HTTP/1.1\r\nHost: {given.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Origin: https://{given.host}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nX-API-Key: {given.key}\r\n\r\n"
).encode())
reader = connection.sock.makefile("rb")
status = reader.readline()
assert b" 101 " in status, status
while reader.readline() not in (b"\r\n", b""):
    pass
mask = os.urandom(4)
connection.sock.sendall(b"\x81\x84" + mask + bytes(byte ^ mask[at] for at, byte in enumerate(b"ping")))
assert reader.read(6) == b"\x81\x04ping"
print("web socket: one frame there and back")

# The proxy behind knows who asked, and believes nothing that the client made up.
told = json.loads(ask("GET", "/whoami", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="http",
                      X_Forwarded_User="somebody-else").read())
assert "203.0.113.9" not in told.get("x-forwarded-for", ""), told
assert given.source in told.get("x-forwarded-for", ""), told
assert told.get("x-forwarded-proto") == "https", told
assert told.get("x-forwarded-user") == "probe", told
print("forwarded headers: the client's own address, https, and nothing that it made up")

# A body of a few megabytes passes.
large = call(4, "tools/call", {"name": "echo", "arguments": {"text": "x" * 3_000_000}}, **mine)
assert large.status == 200, (large.status, large.read(300))
large.read()
print("a body of 3 MB passes")
