"""Reads docker-compose.yml as Compose does: with the variables of an environment file put in.

compose.py FILE ENV_FILE env SERVICE        the service's environment, one NAME=VALUE a line
compose.py FILE ENV_FILE policy             fails unless every service is as hardened as it shall be
"""

import json
import re
import sys
from pathlib import Path

import yaml

VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:[-?])([^}]*))?\})")


def env_file(path: str) -> dict[str, str]:
    """The variables of an environment file."""
    lines = (line.strip() for line in Path(path).read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def put_in(node, variables: dict[str, str]):
    """The same tree with its variables replaced."""

    def value(match: re.Match) -> str:
        name, operator, rest = match.groups()
        if name is None:
            return "$"
        found = variables.get(name, "")
        if found or not operator:
            return found
        if operator == ":?":
            sys.exit(f"{name} is not set: {rest}")
        return rest

    if isinstance(node, dict):
        return {key: put_in(each, variables) for key, each in node.items()}
    if isinstance(node, list):
        return [put_in(each, variables) for each in node]
    return VARIABLE.sub(value, node) if isinstance(node, str) else node


def policy(compose: dict) -> list[str]:
    """What is wrong with it."""
    found = []

    def want(holds: bool, text: str) -> None:
        if not holds:
            found.append(text)

    want("version" not in compose, "`version` is obsolete")
    networks = compose["networks"]
    for name, service in compose["services"].items():
        want("ALL" in service.get("cap_drop", []), f"{name}: capabilities are not dropped")
        want("no-new-privileges:true" in service.get("security_opt", []), f"{name}: may gain privileges")
        want("mem_limit" in service, f"{name}: no bound on memory")
        want("max-size" in service.get("logging", {}).get("options", {}), f"{name}: no bound on logs")
        want(not service.get("privileged"), f"{name}: privileged")
        image = service.get("image", "")
        want(":" in image and not image.endswith(":latest"), f"{name}: the image has no tag")
        for port in service.get("ports", []):
            want(port.startswith("127.0.0.1:"), f"{name}: {port} is open to the network")
        if "host.docker.internal" in json.dumps(service):
            want("host.docker.internal:host-gateway" in service.get("extra_hosts", []), f"{name}: host.docker.internal does not exist on Linux")
    for name in ("redis", "sample"):
        service = compose["services"][name]
        want(not service.get("ports"), f"{name}: published")
        want(all(networks[each].get("internal") for each in service["networks"]), f"{name}: in a network with a way out")
        want(service.get("read_only") is True, f"{name}: the root can be written to")
    redis = compose["services"]["redis"]
    want("requirepass" in json.dumps(redis["command"]), "redis: no password")
    want("healthcheck" in redis, "redis: no health check")
    proxy = compose["services"]["proxy"]
    want(proxy.get("read_only") is True, "proxy: the root can be written to")
    want(str(proxy.get("user", "")).startswith("65532"), "proxy: not the user 65532")
    want(not any(":9090" in port for port in proxy["ports"]), "proxy: metrics are published")
    return found


def load(file: str, variables: str) -> dict:
    """The compose file, with the variables of an environment file put in."""
    return put_in(yaml.safe_load(Path(file).read_text()), env_file(variables))


def main() -> None:
    file, variables, what, *rest = sys.argv[1:]
    compose = load(file, variables)
    if what == "policy":
        found = policy(compose)
        print("\n".join(found) or "as hardened as it shall be")
        sys.exit(bool(found))
    for name, value in compose["services"][rest[0]]["environment"].items():
        print(f"{name}={value}")


if __name__ == "__main__":
    main()
