"""A visit with FastMCP's client, step by step (see steps.mjs). It opens a browser by itself: `BROWSER`.

    python fastmcp_client.py URL MODE

MODE is `auto` or `legacy`.
"""

import asyncio
import sys

from steps import steps

from fastmcp import Client
from fastmcp.client.auth import OAuth


async def main() -> None:
    url, mode = sys.argv[1:3]
    progress: list[int] = []

    async def on_progress(step: float, total: float | None, message: str | None) -> None:
        progress.append(int(step))

    async with Client(url, auth=OAuth(mcp_url=url, callback_host="127.0.0.1"), mode=mode) as client:

        async def tools(_: dict) -> dict:
            return {"tools": [each.name for each in await client.list_tools()], "revision": client.protocol_version}

        async def call(command: dict) -> dict:
            progress.clear()
            result = await client.call_tool(command["tool"], command["arguments"], progress_handler=on_progress)
            return {"text": result.content[0].text if result.content else None, "progress": progress}

        await steps({"list": tools, "call": call})


asyncio.run(main())
