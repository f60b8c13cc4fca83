"""A visit with the official Python client: login found from the 401 alone, list, call, progress.

    python python.py URL LOGIN TOOL ARGUMENTS [MODE]    a whole visit; prints one JSON line
    python python.py URL LOGIN - - [MODE]               step by step; see steps.mjs

MODE is `auto` (default), `legacy`, or a revision.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from steps import steps

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

REDIRECT = "http://127.0.0.1:3999/callback"


class Memory:
    """What the client remembers about its authorization."""

    tokens = None
    information = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.information

    async def set_client_info(self, client_info):
        self.information = client_info


async def authorize(url: str, login: str) -> dict[str, list[str]]:
    """Lets the scripted person go from an authorization address to the client's redirect address."""
    person = await asyncio.create_subprocess_exec(
        "node",
        Path(__file__).with_name("person.mjs"),
        url,
        REDIRECT,
        env={"PATH": os.environ["PATH"], "PERSON_LOGIN": login},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, failed = await person.communicate()
    if person.returncode:
        raise RuntimeError(failed.decode())
    return parse_qs(urlsplit(said.decode().strip()).query)


async def main() -> None:
    url, login, tool, arguments = sys.argv[1:5]
    mode = sys.argv[5] if len(sys.argv) > 5 else "auto"
    memory = Memory()
    logins = []
    requests = []
    progress = []

    async def redirect(target: str) -> None:
        logins.append(await authorize(target, login))

    async def callback() -> AuthorizationCodeResult:
        query = {name: values[0] for name, values in logins[-1].items()}
        return AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    async def note(answer: httpx2.Response) -> None:
        request = answer.request
        requests.append({"method": request.method, "path": request.url.path, "status": answer.status_code})

    async def on_progress(step: float, total: float | None, message: str | None) -> None:
        progress.append(int(step))

    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="a test client",
            redirect_uris=[REDIRECT],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=memory,
        redirect_handler=redirect,
        callback_handler=callback,
        # The address of the document that describes the client, if it has one; then it need not register.
        client_metadata_url=os.environ.get("CLIENT_METADATA_URL"),
    )
    async with httpx2.AsyncClient(auth=auth, event_hooks={"response": [note]}, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            async def tools(_: dict) -> dict:
                names = [each.name for each in (await client.list_tools()).tools]
                return {"tools": names, "revision": client.protocol_version}

            async def call(command: dict) -> dict:
                progress.clear()
                result = await client.call_tool(
                    command["tool"], command["arguments"], progress_callback=on_progress
                )
                return {"text": result.content[0].text if result.content else None, "progress": progress}

            if tool == "-":
                await steps({"list": tools, "call": call})
                return
            seen = await tools({})
            seen |= await call({"tool": tool, "arguments": json.loads(arguments)})
    print(
        json.dumps(
            {
                "logins": len(logins),
                "registered": memory.information is not None,
                "refresh_token": bool(memory.tokens and memory.tokens.refresh_token),
                "requests": requests,
                **seen,
            }
        )
    )


asyncio.run(main())
