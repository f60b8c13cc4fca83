"""Takes every query out of the Flagger and Argo templates, looks whether its metrics and their labels are in the catalogue,
and writes them down as recording rules, for promtool to parse.

usage: queries.py PROGRESSIVE_FOLDER RULES_OUT METRICS_MD
"""
import glob
import json
import re
import sys

import ruamel.yaml

folder, out, catalogue = sys.argv[1:]
known = {}
for line in open(catalogue, encoding="utf-8"):
    cells = [cell.strip() for cell in line.split("|")]
    if len(cells) > 4 and cells[1].startswith("`"):
        known[cells[1].strip("`")] = set(re.findall(r"`(\w+)`", cells[3]))
assert len(known) > 30, "the catalogue could not be read"

yaml = ruamel.yaml.YAML(typ="safe")
queries, templates, used = {}, set(), set()
for path in sorted(glob.glob(f"{folder}/*/*.yaml")):
    for document in yaml.load_all(open(path, encoding="utf-8")):
        name = document["metadata"]["name"]
        if document["kind"] == "MetricTemplate":
            queries[name] = document["spec"]["query"]
            templates.add(name)
        elif document["kind"] == "AnalysisTemplate":
            templates.add(name)
            arguments = {at["name"] for at in document["spec"].get("args", [])}
            for metric in document["spec"]["metrics"]:
                if "prometheus" in metric["provider"]:
                    query = metric["provider"]["prometheus"]["query"]
                    asked = set(re.findall(r"\{\{\s*args\.(\w+)", query))
                    assert asked <= arguments, f"{name}: {asked - arguments} is no argument"
                    queries[f"{name}/{metric['name']}"] = query
        elif document["kind"] == "Canary":
            used |= {metric["templateRef"]["name"] for metric in document["spec"]["analysis"]["metrics"]}
        elif document["kind"] == "Rollout":
            strategy = document["spec"]["strategy"]["blueGreen"]
            for part in ("prePromotionAnalysis", "postPromotionAnalysis"):
                used |= {at["templateName"] for at in strategy[part]["templates"]}
assert used == templates, f"asked for and defined differ: {used ^ templates}"

rules = []
for name, query in queries.items():
    query = re.sub(r"\{\{\s*interval\s*\}\}", "1m", query)
    query = re.sub(r"\{\{\s*[\w.]+\s*\}\}", "x", query)
    assert "{{" not in query, name
    for metric, labels in re.findall(r"\b((?:mcp|http|process)_\w+)\{([^}]*)\}", query):
        base = next((base for base in (metric, re.sub(r"_(bucket|sum|count)$", "", metric)) if base in known), None)
        assert base, f"{name}: there is no metric {metric}"
        for label in re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", labels):
            assert label in known[base] | {"namespace", "pod", "job", "instance"}, f"{name}: {metric} has no label {label}"
    rules.append({"record": "check:" + re.sub(r"\W", "_", name), "expr": query})
assert len(rules) > 8, rules
with open(out, "w", encoding="utf-8") as file:
    json.dump({"groups": [{"name": "queries", "rules": rules}]}, file)
print(f"{len(rules)} queries")
