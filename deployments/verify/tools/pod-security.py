#!/usr/bin/env python3
"""Holds pods against the Pod Security Standard "restricted", and the proxy's pods against what it needs to read its own files.

    pod-security.py FILE...

Run it by an interpreter that reads YAML. It says what a cluster would refuse, before there is one; that the rules are read rightly
is seen where the same objects meet a real API server (35-control-plane.sh).
"""
import sys

import yaml

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def templates(document: dict):
    """The pods that an object makes: itself, or those of its template."""
    if document.get("kind") == "Pod":
        yield document
    for key, value in document.items():
        if key == "template" and isinstance(value, dict) and "containers" in value.get("spec", {}):
            yield value
        elif isinstance(value, dict):
            yield from templates(value)


def containers(spec: dict) -> list[dict]:
    return [each for key in ("initContainers", "containers") for each in spec.get(key) or []]


def restricted(spec: dict):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    pod = spec.get("securityContext") or {}
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    if pod.get("sysctls"):
        yield "sysctls"
    for volume in spec.get("volumes") or []:
        for kind in volume.keys() - {"name"} - VOLUMES:
            yield f"volume {volume['name']}: {kind}"
    for each in containers(spec):
        own = each.get("securityContext") or {}
        capabilities = own.get("capabilities") or {}
        wrong = {
            "privileged": own.get("privileged"),
            "allowPrivilegeEscalation is not false": own.get("allowPrivilegeEscalation") is not False,
            "capabilities are not dropped": "ALL" not in (capabilities.get("drop") or []),
            "capabilities are added": set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"},
            "runAsNonRoot is not true": own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True,
            "runs as root": own.get("runAsUser", pod.get("runAsUser")) == 0,
            "no seccomp profile": (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"),
            "procMount": own.get("procMount", "Default") != "Default",
            "hostPort": any(port.get("hostPort") for port in each.get("ports") or []),
        }
        yield from (f"container {each['name']}: {rule}" for rule, broken in wrong.items() if broken)


def readable(spec: dict):
    """What the proxy's container mounts can be read by its user, and nothing of the cluster's comes in."""
    proxies = [each for each in containers(spec) if each["name"] == "mcp-oidc-proxy"]
    if not proxies:
        return
    mounted = {mount["name"] for each in proxies for mount in each.get("volumeMounts") or []}
    for volume in spec.get("volumes") or []:
        for kind in ("projected", "secret", "configMap"):
            mode = (volume.get(kind) or {}).get("defaultMode", 0o644)
            if volume["name"] in mounted and not mode & 0o004 and not (spec.get("securityContext") or {}).get("fsGroup"):
                yield f"volume {volume['name']}: mode {mode:o} without an fsGroup: the proxy cannot read it"
    for key in ("automountServiceAccountToken", "enableServiceLinks"):
        if spec.get(key) is not False:
            yield f"{key} is not false"


def main(files: list[str]) -> int:
    pods = problems = 0
    for file in files:
        with open(file, encoding="utf-8") as text:
            documents = [each for each in yaml.safe_load_all(text) if each]
        for document in documents:
            for pod in templates(document):
                pods += 1
                for problem in (*restricted(pod["spec"]), *readable(pod["spec"])):
                    problems += 1
                    print(f"{file}: {document['kind']} {document['metadata']['name']}: {problem}", file=sys.stderr)
    print(f"{pods} pods, {problems} problems")
    return 1 if problems or not pods else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
