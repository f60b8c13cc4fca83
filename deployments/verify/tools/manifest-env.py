#!/usr/bin/env python3
"""Prints the environment of a manifest's container as NAME=VALUE lines, from its ConfigMaps and Secrets in the same file.

    manifest-env.py FILE CONTAINER
"""
import sys

import yaml


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        objects = [document for document in yaml.safe_load_all(file) if document]
    named = {(entry["kind"], entry["metadata"]["name"]): entry for entry in objects}
    values: dict[str, str] = {}
    for entry in objects:
        if entry["kind"] != "Deployment":
            continue
        for container in entry["spec"]["template"]["spec"]["containers"]:
            if container["name"] != sys.argv[2]:
                continue
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    values |= named["ConfigMap", source["configMapRef"]["name"]]["data"]
                else:
                    values |= named["Secret", source["secretRef"]["name"]]["stringData"]
            values |= {variable["name"]: variable["value"] for variable in container.get("env", [])}
    if not values:
        sys.exit(f"{sys.argv[1]}: no container {sys.argv[2]} with an environment")
    for name, value in values.items():
        print(f"{name}={value}")


if __name__ == "__main__":
    main()
