"""A name server for tests: answers A questions for the names it is given, over UDP and TCP, and has no other names.

dns.py ADDRESS NAME=ADDRESS...        prints `ready` once it answers; ends when its standard input closes
"""

import os
import socketserver
import struct
import sys
import threading

ADDRESS, *NAMES = sys.argv[1:]
ZONE = {name.lower(): [int(part) for part in to.split(".")] for name, to in (each.split("=") for each in NAMES)}


def answer(question: bytes) -> bytes:
    """The answer to one question."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode())
        at += 1 + question[at]
    kind = struct.unpack_from("!H", question, at + 1)[0]
    asked = question[12 : at + 5]
    address = ZONE.get(".".join(labels).lower())
    found = [address] if address and kind == 1 else []
    # Authoritative, recursion available; code 3 is "no such name".
    head = question[:2] + struct.pack("!HHHHH", 0x8580 | (0 if address else 3), 1, len(found), 0, 0)
    return head + asked + b"".join(struct.pack("!HHHIH4B", 0xC00C, 1, 1, 5, 4, *each) for each in found)


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        question, socket = self.request
        socket.sendto(answer(question), self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        size = struct.unpack("!H", self.rfile.read(2))[0]
        said = answer(self.rfile.read(size))
        self.wfile.write(struct.pack("!H", len(said)) + said)


for server in (socketserver.ThreadingUDPServer((ADDRESS, 53), Udp), socketserver.ThreadingTCPServer((ADDRESS, 53), Tcp)):
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
