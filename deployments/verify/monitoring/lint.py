#!/usr/bin/env python3
"""Checks what is shipped for monitoring against the catalogue of metrics and the runbooks. Needs PyYAML.

  lint.py names       every metric and label in rules and dashboards is in docs/metrics.md or recorded by a rule
  lint.py alerts      every alert has what it needs, its page exists, it has a firing and a quiet test
  lint.py dashboards  panels have units, descriptions, no hard-coded data source; links lead somewhere
  lint.py coverage    every metric of the catalogue is on a dashboard
  lint.py docs        links between the runbooks and the pages about operations lead somewhere
  lint.py vector      the parts of the Vector example are joined up (its language is not compiled here)
  lint.py queries F   writes every expression of the dashboards into the rule file F, for promtool
"""

import json
import pathlib
import re
import sys

import yaml

import promql

ROOT = pathlib.Path(__file__).resolve().parents[3]
HOME = ROOT / "deployments/monitoring"
BASE = "https://github.com/mcp-oidc-proxy/mcp-oidc-proxy/blob/main/"
TARGET = {"namespace", "job", "instance", "pod", "service"}
# What Prometheus itself knows.
OWN = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}
found = []


def wrong(place, what):
    found.append(f"{place}: {what}")


def catalogue():
    known = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 4 and cells[1].startswith("`"):
            name, labels = cells[1].strip("`"), set(re.findall(r"`(\w+)`", cells[3]))
            known[name] = labels
            if cells[2] == "histogram":
                known.update({name + "_bucket": labels | {"le"}, name + "_sum": labels, name + "_count": labels})
    return known


def rules():
    for path in sorted((HOME / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield path.name, rule


def recorded(known):
    """Names that rules record, and the labels that they can have."""
    made = {}
    for _, rule in rules():
        if "record" not in rule:
            continue
        named = promql.read(str(rule["expr"]))
        labels = set(rule.get("labels", {})) | named.made | named.labels
        for name, _ in named.metrics:
            labels |= known.get(name, set()) | made.get(name, set())
        made.setdefault(rule["record"], set()).update(labels)
    return made


def boards():
    for path in sorted((HOME / "dashboards").glob("*.json")):
        yield path.name, json.loads(path.read_text())


def expressions():
    for name, board in boards():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"], target.get("legendFormat", "")
        for each in board["annotations"]["list"]:
            yield f"{name}: annotation {each['name']}", each["expr"], each["titleFormat"]
        for each in board["templating"]["list"]:
            query = each.get("definition", "")
            if inner := re.fullmatch(r"label_values\((.*), (\w+)\)", query):
                yield f"{name}: variable {each['name']}", f"sum by ({inner[2]}) ({inner[1]})", ""


def substituted(expr):
    for name, value in {"__rate_interval": "5m", "__range": "1h", "__interval": "1m"}.items():
        expr = expr.replace("$" + name, value)
    return re.sub(r"\$\w+", ".*", expr)


def names():
    known = {**catalogue(), **OWN}
    if len(known) < 50:
        wrong("docs/metrics.md", "the catalogue could not be read")
    known.update(recorded(known))
    every = [(f"{name}: {rule.get('alert', rule.get('record'))}", str(rule["expr"]), "") for name, rule in rules()]
    for place, expr, legend in every + list(expressions()):
        named, here = promql.read(substituted(expr)), set(TARGET) | {"le"}
        for name, labels in named.metrics:
            if name not in known:
                wrong(place, f"no metric {name}")
                continue
            here |= known[name]
            for label in sorted(labels - known[name] - TARGET):
                wrong(place, f"{name} has no label {label}")
        here |= named.made
        for label in sorted((named.labels | set(re.findall(r"{{(\w+)}}", legend))) - here):
            wrong(place, f"no metric here has a label {label}")


def page(place, url):
    if not url.startswith(BASE):
        return wrong(place, f"{url} is not below {BASE}")
    path, _, anchor = url[len(BASE):].partition("#")
    file = ROOT / path
    if not file.is_file():
        return wrong(place, f"{path} does not exist")
    if anchor and anchor not in anchors(file):
        wrong(place, f"{path} has no heading for #{anchor}")


def anchors(file):
    """As the forge makes them: lower case, spaces to dashes, punctuation gone."""
    for line in file.read_text().splitlines():
        if title := re.match(r"#+ (.*)", line):
            yield re.sub(r"[^\w\- ]", "", title[1].lower()).replace(" ", "-")


def alerts():
    levels, fires, quiet, labels = {}, {}, set(), {}
    for path in sorted((HOME / "rules/tests").glob("*.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test["promql_expr_test"]:
                alert = re.search(r'alertname="(\w+)"', check["expr"])
                if not alert:
                    continue
                name = alert[1]
                if not check["exp_samples"]:
                    quiet.add(name)
                for sample in check["exp_samples"]:
                    has = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                    fires.setdefault(name, set()).add(has["severity"])
                    labels.setdefault((name, has["severity"]), []).append(set(has))
    for file, rule in rules():
        if "alert" not in rule:
            continue
        name, severity, notes = rule["alert"], rule["labels"].get("severity"), rule["annotations"]
        place = f"{file}: {name} ({severity})"
        levels.setdefault(name, set()).add(severity)
        if severity not in ("critical", "warning", "info"):
            wrong(place, "severity is not critical, warning or info")
        for each in ("summary", "description", "runbook_url"):
            if not notes.get(each):
                wrong(place, f"no {each}")
        page(place, notes["runbook_url"])
        if notes["runbook_url"].partition("#")[2] != name.lower():
            wrong(place, "runbook_url does not lead to its own section")
        if severity not in fires.get(name, ()):
            wrong(place, "no test in which it fires")
        if name not in quiet:
            wrong(place, "no test in which it is quiet")
        text = notes["summary"] + notes["description"]
        optional = set(re.findall(r"with \$labels\.(\w+)", text))
        for label in sorted(set(re.findall(r"\$labels\.(\w+)", text)) - optional):
            if any(label not in has for has in labels.get((name, severity), [])):
                wrong(place, f"says $labels.{label}, which the firing alert has not")
    for name in sorted(set(fires) - set(levels)):
        wrong("tests", f"there is no alert {name}")


def dashboards():
    seen = set()
    for name, board in boards():
        variables = {each["name"] for each in board["templating"]["list"]}
        for need in ("datasource", "namespace", "job", "instance", "route", "backend"):
            if need not in variables:
                wrong(name, f"no variable {need}")
        if board["uid"] in seen:
            wrong(name, f"uid {board['uid']} twice")
        seen.add(board["uid"])
        for each in board["annotations"]["list"] + [each for each in board["templating"]["list"] if each["type"] == "query"]:
            if each["datasource"]["uid"] != "${datasource}":
                wrong(f"{name}: {each['name']}", "hard-coded data source")
        for panel in board["panels"]:
            place = f"{name}: {panel['title']}"
            if panel["type"] == "row":
                continue
            for each in [panel, *panel["targets"]]:
                if each["datasource"]["uid"] != "${datasource}":
                    wrong(place, "hard-coded data source")
            if not panel["description"] or not panel["fieldConfig"]["defaults"].get("unit"):
                wrong(place, "no description or unit")
            for target in panel["targets"]:
                if re.search(r"(?<!changes)\((?:[^()]*)\[(?!\$__rate_interval|\$__range)", target["expr"]):
                    wrong(place, f"a fixed window: {target['expr']}")
                for used in re.findall(r'"\$(\w+)"', target["expr"]):
                    if used not in variables:
                        wrong(place, f"no variable {used}")
        for link in [link for panel in board["panels"] for link in panel.get("links", [])] + board["links"]:
            if "url" in link:
                page(f"{name}: {link['title']}", link["url"])


def coverage():
    shown = {name for _, expr, _ in expressions() for name, _ in promql.read(substituted(expr)).metrics}
    for name in catalogue():
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        if not shown & {family, family + "_bucket", family + "_sum", family + "_count"}:
            wrong("dashboards", f"{name} is on none")


def docs():
    pages = ["monitoring.md", "operations.md", "troubleshooting.md", *(f"runbooks/{each.name}" for each in (ROOT / "docs/runbooks").glob("*.md"))]
    for name in pages:
        file = ROOT / "docs" / name
        for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", file.read_text()):
            to = (file.parent / path).resolve() if path else file
            if not to.exists():
                wrong(name, f"{path} does not exist")
            elif anchor and to.suffix == ".md" and anchor not in anchors(to):
                wrong(name, f"{path} has no heading for #{anchor}")


def vector():
    config = yaml.safe_load((HOME / "logs/vector.yaml").read_text())
    sources, transforms = config["sources"], config["transforms"]
    inputs = {name: set(each["inputs"]) for name, each in {**transforms, **config["sinks"]}.items()}
    for name, used in inputs.items():
        for each in sorted(used - set(sources) - set(transforms)):
            wrong("vector.yaml", f"{name} reads {each}, which there is not")
    for each in sorted((set(sources) | set(transforms)) - set().union(*inputs.values())):
        wrong("vector.yaml", f"nobody reads {each}")
    for name, each in {**sources, **transforms, **config["sinks"]}.items():
        if not each.get("type"):
            wrong("vector.yaml", f"{name} has no type")
    # Labels are few values of fixed sets: what a transform writes as `.name`, or a constant.
    written = set(re.findall(r"^\s*\.(\w+) = ", transforms["parsed"]["source"], re.M))
    for name, sink in config["sinks"].items():
        for used in re.findall(r"{{ (\w+) }}", " ".join(sink["labels"].values())):
            if used not in written:
                wrong("vector.yaml", f"{name} has a label from {used}, which nobody writes")


def queries(path):
    group = [{"record": f"q:{at}", "expr": substituted(expr)} for at, (_, expr, _) in enumerate(expressions())]
    pathlib.Path(path).write_text(json.dumps({"groups": [{"name": "dashboards", "rules": group}]}))
    print(f"{len(group)} expressions")


def main():
    {"names": names, "alerts": alerts, "dashboards": dashboards, "coverage": coverage, "docs": docs, "vector": vector, "queries": queries}[sys.argv[1]](*sys.argv[2:])
    for each in sorted(set(found)):
        print(each)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
