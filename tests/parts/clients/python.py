"""A full visit with the official Python client: login found from the 401 alone, list, call, progress.

    python python.py URL LOGIN TOOL ARGUMENTS [MODE]

MODE is `auto` (default), `legacy`, or a revision. Prints one JSON line.
"""

import asyncio
import html
import json
import re
import sys
from urllib.parse import parse_qs, urljoin, urlsplit

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
    """Follows redirects and fills the provider's form, up to the client's redirect address."""
    async with httpx2.AsyncClient(follow_redirects=False) as browser:
        answer = await browser.get(url, headers={"accept": "text/html"})
        for _ in range(20):
            here = str(answer.url)
            if location := answer.headers.get("location"):
                there = urljoin(here, location)
                if there.startswith(REDIRECT):
                    return parse_qs(urlsplit(there).query)
                answer = await browser.get(there, headers={"accept": "text/html"})
                continue
            action = re.search(r'<form[^>]*action="([^"]*)"', answer.text)
            if not action:
                raise RuntimeError(f"no form at {here}: {answer.status_code} {answer.text}")
            fields = {}
            for tag in re.findall(r"<input[^>]*>", answer.text):
                if name := re.search(r'name="([^"]*)"', tag):
                    value = re.search(r'value="([^"]*)"', tag)
                    fields[name[1]] = html.unescape(value[1]) if value else ""
            fields["username" if "username" in fields else "login"] = login
            fields["password"] = login
            answer = await browser.post(urljoin(here, html.unescape(action[1])), data=fields)
    raise RuntimeError("too many steps")


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
    )
    async with httpx2.AsyncClient(auth=auth, event_hooks={"response": [note]}, timeout=60) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            tools = [each.name for each in (await client.list_tools()).tools]
            result = await client.call_tool(tool, json.loads(arguments), progress_callback=on_progress)
            revision = client.protocol_version
    print(
        json.dumps(
            {
                "logins": len(logins),
                "registered": memory.information is not None,
                "refresh_token": bool(memory.tokens and memory.tokens.refresh_token),
                "tools": tools,
                "text": result.content[0].text if result.content else None,
                "progress": progress,
                "revision": revision,
                "requests": requests,
            }
        )
    )


asyncio.run(main())
