"""A browser and an MCP client, as little of them as checks need."""

import base64
import hashlib
import html
import http.client
import json
import re
import secrets
import socket
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

CALLBACK = "http://127.0.0.1:33418/callback"


class Answer:
    def __init__(self, url, response, body):
        self.url, self.status, self.headers, self.body = url, response.status, response.headers, body

    def json(self):
        return json.loads(self.body)

    def text(self):
        return self.body.decode(errors="replace")


def ask(method, url, body=None, headers=(), timeout=30):
    at = urlsplit(url)
    connection = http.client.HTTPConnection("127.0.0.1", at.port, timeout=timeout)
    try:
        connection.request(method, at.path + ("?" + at.query if at.query else ""), body, {"Host": at.netloc, **dict(headers)})
        response = connection.getresponse()
        return Answer(url, response, response.read())
    finally:
        connection.close()


class Browser:
    """Keeps cookies for each host and port, follows redirects, posts forms with an Origin."""

    def __init__(self):
        self.cookies = {}

    def open(self, url, form=None, stop_at=None):
        for _ in range(12):
            if stop_at and url.startswith(stop_at):
                return url
            at = urlsplit(url)
            jar = self.cookies.setdefault(at.netloc, {})
            headers = {"Accept": "text/html", "Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
            if form is not None:
                headers |= {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"{at.scheme}://{at.netloc}"}
            answer = ask("GET" if form is None else "POST", url, None if form is None else urlencode(form), headers)
            for each in answer.headers.get_all("Set-Cookie") or []:
                name, _, value = each.split(";")[0].partition("=")
                jar[name] = value
            if answer.status not in (301, 302, 303, 307):
                return answer
            url, form = urljoin(url, answer.headers["Location"]), None
        raise AssertionError(f"redirected in circles, last to {url}")

    def submit(self, page, to, stop_at=None, **fields):
        """The form of the page whose action ends in `to`."""
        for action, form in re.findall(r'<form method="post" action="([^"]*)"(.*?)</form>', page.text(), re.S):
            if action.endswith(to):
                hidden = {name: html.unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}
                return self.open(urljoin(page.url, action), {**hidden, **fields}, stop_at)
        raise AssertionError(f"no form to {to} in {page.text()}")


def authorize(base, browser, resource):
    """From the address of an MCP server to an access token and a refresh token, as MCP clients do it."""
    server = ask("GET", base + "/.well-known/oauth-authorization-server").json()
    registered = ask("POST", server["registration_endpoint"], json.dumps({
        "client_name": "check", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none", "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"], "application_type": "native"}), {"Content-Type": "application/json"})
    assert registered.status == 201, registered.text()
    client, verifier = registered.json()["client_id"], secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    page = browser.open(server["authorization_endpoint"] + "?" + urlencode({
        "response_type": "code", "client_id": client, "redirect_uri": CALLBACK, "state": "s", "code_challenge": challenge, "code_challenge_method": "S256", "resource": resource}))
    assert page.status == 200, page.text()
    landed = browser.submit(page, "/consent", CALLBACK, decision="approve")
    code = parse_qs(urlsplit(landed).query)["code"][0]
    return grant(server, grant_type="authorization_code", code=code, client_id=client, redirect_uri=CALLBACK, code_verifier=verifier, resource=resource), client, server


def grant(server, **form):
    answer = ask("POST", server["token_endpoint"], urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"})
    return answer.json() if answer.status == 200 else answer


class Mcp:
    """An MCP client of the 2025-06-18 revision with the credential that `headers` hold."""

    def __init__(self, url, **headers):
        self.url, self.number = url, 0
        self.headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}

    def send(self, method, **params):
        self.number += 1
        return ask("POST", self.url, json.dumps({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}), self.headers)

    def begin(self):
        answer = self.send("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "check", "version": "1"})
        assert answer.status == 200, answer.text()
        self.headers |= {"Mcp-Session-Id": answer.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-06-18"}
        self.send("tools/list")
        return self

    def call(self, tool, **arguments):
        return self.send("tools/call", name=tool, arguments=arguments)

    def listen(self):
        """The stream of server messages, as a socket: closing it is leaving."""
        at = urlsplit(self.url)
        stream = socket.create_connection(("127.0.0.1", at.port))
        headers = {**self.headers, "Accept": "text/event-stream", "Host": at.netloc}
        stream.sendall(f"GET {at.path} HTTP/1.1\r\n{''.join(f'{name}: {value}' + chr(13) + chr(10) for name, value in headers.items())}\r\n".encode())
        assert b" 200 " in stream.recv(64)
        return stream

    def end(self):
        ask("DELETE", self.url, None, self.headers)
