"""Moto's stand-in for AWS on a free port of loopback; ends when its standard input closes."""

import json
import logging
import sys

from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
sys.stdin.read()
server.stop()
