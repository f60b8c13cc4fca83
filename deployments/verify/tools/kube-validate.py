#!/usr/bin/env python3
"""Checks Kubernetes objects against the strict schemas of several versions (unknown keys are errors).

    kube-validate.py --versions 1.29,1.34 [--crds FILE] FILE...

Run it by the interpreter that has the package `kubernetes-validate`. Objects of other API groups are written to the file
of --crds as a JSON list, for crds/check.mjs; without it they are errors. Equal objects are looked at once.
"""
import argparse
import collections
import functools
import json
import sys

import yaml
from kubernetes_validate import SchemaNotFoundError, ValidationError, utils

# The definitions are large, and the package reads them anew for every object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)
CUSTOM = (".coreos.com/", "gateway.networking.k8s.io/", "cert-manager.io/", "external-secrets.io/", "autoscaling.k8s.io/", "argoproj.io/")


class UniqueKeys(yaml.CSafeLoader):
    """A loader that refuses a key that stands twice in a map, which most YAML readers let through."""


def construct_mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = [key for key, count in collections.Counter(map(str, keys)).items() if count > 1]
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


UniqueKeys.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
    lambda loader, node: construct_mapping(loader, node, deep=True),
)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--versions", required=True)
    parser.add_argument("--crds")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    objects: dict[str, list[str]] = {}
    problems = []
    for name in arguments.files:
        try:
            with open(name, encoding="utf-8") as file:
                documents = [document for document in yaml.load_all(file, UniqueKeys) if document]
        except yaml.YAMLError as error:
            problems.append(f"{name}: {error}")
            continue
        if not documents:
            problems.append(f"{name}: no object in it")
        for document in documents:
            objects.setdefault(json.dumps(document, sort_keys=True), []).append(name)
    custom, checked = [], 0
    for text, names in objects.items():
        document = json.loads(text)
        where = f"{names[0]}: {document.get('kind')} {document.get('metadata', {}).get('name')}"
        if any(group in document.get("apiVersion", "") for group in CUSTOM):
            custom.append({"where": where, "object": document})
            continue
        for version in arguments.versions.split(","):
            try:
                utils.validate(document, version, strict=True)
                checked += 1
            except ValidationError as error:
                path = "/".join(str(part) for part in error.absolute_path)
                problems.append(f"{where}: Kubernetes {version}: {path}: {error.message[:300]}")
            except (SchemaNotFoundError, KeyError) as error:
                problems.append(f"{where}: Kubernetes {version}: {getattr(error, 'message', error)}")
    if arguments.crds:
        with open(arguments.crds, "w", encoding="utf-8") as file:
            json.dump(custom, file)
    elif custom:
        problems += [f"{entry['where']}: not an object of Kubernetes itself" for entry in custom]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{checked} checks of {len(objects)} objects, {len(custom)} custom ones, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
