"""Hands the proxy the environment that the template gives the function, and asks it to check: the form, and what it reads from
a stand-in for Secrets Manager.

environment.py TEMPLATE BINARY
"""
import json
import re
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

template, binary = Path(sys.argv[1]).read_text(), sys.argv[2]
ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:mcp-proxy/"
SECRETS = {"OidcClientSecretArn": "canary-client-secret-of-the-check", "RootSecretArn": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
           "RedisUrlArn": "rediss://user:canary-password@127.0.0.1:1/0"}
VALUES = {"PublicUrl": "https://mcp.example.com", "OidcDiscoveryUrl": "https://127.0.0.1:1/.well-known/openid-configuration",
          "OidcClientId": "mcp", "TargetHost": "127.0.0.1", "TargetPort": "3000", "LogLevel": "info", "SecretsRead": "1",
          **{name: f"{ARN}{name}-AbCdEf" for name in SECRETS}}
asked = []


class Manager(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        what = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["SecretId"]
        asked.append((self.headers["X-Amz-Target"], what))
        name = what.removeprefix(ARN).removesuffix("-AbCdEf")
        body = json.dumps({"ARN": what, "Name": name, "SecretString": SECRETS[name], "VersionStages": ["AWSCURRENT"]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


# The template's own patterns take the ARNs.
for name in SECRETS:
    pattern = re.search(rf"^  {name}:\n    Type: String\n    AllowedPattern: \"(.*)\"$", template, re.M)[1]
    assert re.fullmatch(pattern, VALUES[name]) and not re.fullmatch(pattern, VALUES[name] + "' }"), name
# And the role may read these and nothing else.
allowed = re.search(r"Action: secretsmanager:GetSecretValue\n +Resource: \[(.*)\]", template)[1]
assert sorted(re.findall(r"!Ref (\w+)", allowed)) == sorted(SECRETS) and template.count("secretsmanager:GetSecretValue") == 1, allowed

block = template.split("        Variables:\n")[1].split("\n  Url:")[0]
environment = {}
for name, value in re.findall(r"^          ([A-Z0-9_]+): (.*)$", block, re.M):
    value = re.sub(r"^!Ref (\w+)$", lambda found: VALUES[found[1]], value)
    value = re.sub(r'^!Sub "(.*)"$', lambda found: re.sub(r"\$\{(\w+)\}", lambda inner: VALUES[inner[1]], found[1]), value)
    environment[name] = value
assert len(environment) >= 9 and "resolve:" not in template, environment

server = ThreadingHTTPServer(("127.0.0.1", 0), Manager)
threading.Thread(target=server.serve_forever, daemon=True).start()
role = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "canary-of-the-credentials", "AWS_EC2_METADATA_DISABLED": "true"}


def proxy(*words):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([binary, *words], env={**environment, **role}, cwd=folder, capture_output=True, text=True, timeout=120)
    print(done.stdout, done.stderr)
    return done.returncode, done.stdout + done.stderr


assert proxy("check-config")[0] == 0 and not asked, asked
# Provider and Redis of the check answer nobody; the secrets do.
said = proxy("check-config", "--online")[1]
for name in SECRETS:
    assert f"aws_secret {VALUES[name]}: ok" in said, name
# The address of Redis is the one from the secret.
assert "Redis at 127.0.0.1:1" in said and "canary" not in said, said
assert sorted(asked) == sorted(("secretsmanager.GetSecretValue", VALUES[name]) for name in SECRETS), asked
