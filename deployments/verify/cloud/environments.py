"""Hands the proxy what each platform's template hands it, and asks it to check: environment and files as they stand there,
secrets made up.

usage: environments.py CLOUD_FOLDER SCRATCH_FOLDER BINARY ROOT_KEY
"""
import json
import os
import subprocess
import sys

import ruamel.yaml

cloud, scratch, binary, root = sys.argv[1:]
yaml = ruamel.yaml.YAML(typ="safe")
# What CloudFormation writes with a tag: references become a value that fits.
yaml.constructor.add_multi_constructor("!", lambda _, tag, node: PARAMETERS.get(getattr(node, "value", ""), "made-up"))
PARAMETERS = {"PublicUrl": "https://mcp.example.com", "OidcIssuer": "https://login.example.com", "TargetPort": "3000",
              "TargetHost": "mcp-server.internal", "OidcClientId": "mcp-proxy", "DrainSeconds": "45"}
SECRETS = {"OIDC_CLIENT_SECRET": "a-secret-of-sixteen-bytes-or-more", "MCP_ENCRYPTION_KEY": root, "REDIS_URL": "rediss://u:p@redis.internal:6379/0"}


def load(path):
    with open(f"{cloud}/{path}", encoding="utf-8") as file:
        return json.load(file) if path.endswith(".json") else yaml.load(file)


def check(name, environment, config=None):
    for key, value in environment.items():
        assert isinstance(value, str), f"{name}: {key} is no text"
    words = [binary, *(["--config", config] if config else []), "check-config"]
    told = subprocess.run(words, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, cwd=scratch)
    assert told.returncode == 0, f"{name}: {told.stdout}{told.stderr}"
    shown = subprocess.run([*words[:-1], "print-config"], env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, cwd=scratch)
    assert "trusted_proxies: [" in shown.stdout, f"{name}: {shown.stdout[:400]}"
    print(f"{name}: accepted")


def pairs(items):
    return {at.get("name", at.get("Name")): at.get("value", at.get("Value")) for at in items}


for name, container in (
    ("aws-ecs/task-definition.json", load("aws-ecs/task-definition.json")["containerDefinitions"][0]),
    ("aws-ecs/template.yaml", load("aws-ecs/template.yaml")["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]),
):
    secrets = {at.get("name", at.get("Name")) for at in container.get("secrets", container.get("Secrets"))}
    assert secrets == set(SECRETS), f"{name}: {secrets}"
    check(name, pairs(container.get("environment", container.get("Environment"))) | SECRETS)

# What no linter knows: a task has the time that the proxy takes to end, scaling decides how many there are, and a creation that
# fails can be taken back.
stack = load("aws-ecs/template.yaml")
ends = pairs(stack["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]["Environment"])
needed = sum(int(ends[f"MCP_PROXY__SHUTDOWN__{name}"].removesuffix("s")) for name in ("DELAY", "TIMEOUT"))
assert stack["Parameters"]["DrainSeconds"]["MinValue"] > needed, needed
assert "DesiredCount" not in stack["Resources"]["Service"]["Properties"]
assert stack["Parameters"]["DeletionProtection"]["Default"] == "false"

run = load("gcp-cloud-run/service.yaml")["spec"]["template"]["spec"]["containers"][0]
check("gcp-cloud-run", pairs(run["env"]) | {"PORT": "8080"}, f"{scratch}/gcp-cloud-run.yaml")
app = load("azure/containerapp.yaml")["properties"]["template"]["containers"][0]
check("azure container app", pairs(app["env"]), f"{scratch}/azure.yaml")
instance = load("azure/container-instance.yaml")["properties"]["containers"][0]["properties"]
one = {key: value.replace("/tls/", f"{scratch}/tls/") for key, value in pairs(instance["environmentVariables"]).items()}
check("azure container instance", one, f"{scratch}/azure.yaml")
heroku = {key: entry.get("value", "") for key, entry in load("heroku/app.json")["env"].items()}
missing = {key for key, entry in load("heroku/app.json")["env"].items() if entry.get("required")}
given = {**SECRETS, "PUBLIC_URL": "https://name.herokuapp.com", "OIDC_DISCOVERY_URL": "https://login.example.com",
         "OIDC_CLIENT_ID": "mcp-proxy", "MCP_TARGET_HOST": "mcp-server.example.com"}
assert missing <= set(given), missing
check("heroku", heroku | given | {"PORT": "31337"})
