"""The scripted person and the steps of a visit, for the Python clients; see person.mjs and steps.mjs."""

import asyncio
import json
import sys
import time
import traceback
from collections.abc import Awaitable, Callable

_real = time.time
_ahead = 0.0


def _now() -> float:
    return _real() + _ahead


time.time = _now


def later(seconds: float) -> None:
    """Steps this process's wall clock forward."""
    global _ahead
    _ahead += seconds


async def steps(client: dict[str, Callable[[dict], Awaitable[dict | None]]]) -> None:
    """Runs a command a line, and prints one JSON line for each."""

    def say(reply: dict) -> None:
        print(json.dumps({"reply": reply}), flush=True)

    say({"ready": True})
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        if command["do"] == "quit":
            say({})
            return
        try:
            if command["do"] == "later":
                later(command["seconds"])
                say({})
            else:
                say(await client[command["do"]](command) or {})
        except Exception:
            say({"error": traceback.format_exc()})
