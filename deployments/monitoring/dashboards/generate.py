#!/usr/bin/env python3
"""Writes the Grafana dashboards beside it; with --check, fails when one differs from what it would write.

A panel is a title, what it says, a unit, and queries. `{sel}` stands for the variables namespace, job and instance,
`{route}` for these and route, `{backend}` for these and backend. Needs Python 3.9, nothing else.
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
RUNBOOKS = "https://github.com/mcp-oidc-proxy/mcp-oidc-proxy/blob/main/docs/runbooks/"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SEL = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
NAMES = {"sel": SEL, "route": SEL + ',route=~"$route"', "backend": SEL + ',backend=~"$backend"'}
OK, WARN, BAD = "green", "orange", "red"
# Marks on a scale: what is below the first is fine. The figures are those of rules/thresholds.yml.
ERRORS, SECONDS = [(0.02, WARN), (0.05, BAD)], [(3, WARN), (5, BAD)]
HITS, MEMORY = [(0.4, WARN), (0.6, OK)], [(0.8 * 2**28, WARN), (0.95 * 2**28, BAD)]
UP = [(1, OK)]


def fill(expr):
    for name, value in NAMES.items():
        expr = expr.replace("{%s}" % name, "{%s}" % value).replace("{%s," % name, "{%s," % value)
    return expr


def quantiles(metric, by="", labels="{sel}", of=(0.5, 0.95, 0.99)):
    """Queries for quantiles of a histogram; `by` keeps labels apart, and then the legend shows them."""
    legend = " ".join("{{%s}}" % label for label in by.split(",") if label)
    keep = "le" + ("," + by if by else "")
    return [
        (f"histogram_quantile({q}, sum by ({keep}) (rate({metric}_bucket{labels}[$__rate_interval])))", f"p{q * 100:g} {legend}".strip())
        for q in of
    ]


def rate(metric, by, labels="{sel}", legend=None):
    return (f"sum by ({by}) (rate({metric}{labels}[$__rate_interval]))", legend or " ".join("{{%s}}" % each for each in by.split(",")))


def ratio(part, metric, by="", labels="{sel}", legend="share"):
    """What share of a counter has the labels `part`; nothing when nothing was counted, 0 when none had them."""
    whole = f"sum by ({by}) (rate({metric}{labels}[$__rate_interval]))"
    some = f"sum by ({by}) (rate({metric}{labels[:-1]},{part}}}[$__rate_interval]))"
    return (f"({some} or {whole} * 0) / ({whole} > 0)", legend)


def panel(kind, title, description, unit, queries, runbook=None, marks=(), base=OK, width=8, height=8, **options):
    if isinstance(queries, tuple):
        queries = [queries]
    instant = kind in ("stat", "table")
    targets = [
        {"datasource": SOURCE, "refId": chr(65 + at), "expr": fill(expr), "legendFormat": legend,
         "instant": instant, "range": not instant, **({"format": "table"} if kind == "table" else {})}
        for at, (expr, legend) in enumerate(queries)
    ]
    steps = [{"color": base, "value": None}, *({"color": color, "value": value} for value, color in marks)]
    defaults = {"unit": unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    custom = {}
    if kind == "timeseries":
        custom = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
        if marks:
            custom["thresholdsStyle"] = {"mode": "dashed"}
        settings = {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                    "tooltip": {"mode": "multi", "sort": "desc"}}
    elif kind == "state-timeline":
        defaults["color"] = {"mode": "thresholds"}
        settings = {"showValue": "never", "mergeValues": True, "legend": {"showLegend": False}}
    elif kind == "table":
        settings = {"cellHeight": "sm", "showHeader": True}
    else:
        settings = {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "auto"}
    made = {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": targets,
            "fieldConfig": {"defaults": {**defaults, **options.pop("defaults", {}), "custom": custom}, "overrides": []},
            "options": {**settings, **options}, "size": (width, height)}
    if runbook:
        made["links"] = [{"title": "Runbook", "url": RUNBOOKS + runbook, "targetBlank": True}]
    if kind == "table":
        hidden = {name: True for name in ("Time", "__name__")}
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return made


def graph(*args, **more):
    return panel("timeseries", *args, **more)


def stat(*args, **more):
    return panel("stat", *args, **{"width": 4, "height": 4, **more})


def table(*args, **more):
    return panel("table", *args, **more)


def states(title, description, queries, names, runbook=None, **more):
    """A band for each series; `names` says what the values mean, as (value, text, colour)."""
    mapped = {str(value): {"text": text, "color": color} for value, text, color in names}
    return panel("state-timeline", title, description, "none", queries, runbook=runbook, defaults={"mappings": [{"type": "value", "options": mapped}]}, **more)


def variable(name, query, label):
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]}, "sort": 1}


def board(name, title, description, rows):
    variables = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}},
        variable("namespace", "label_values(mcp_proxy_build_info, namespace)", "Namespace"),
        variable("job", 'label_values(mcp_proxy_build_info{namespace=~"$namespace"}, job)', "Job"),
        variable("instance", 'label_values(mcp_proxy_build_info{namespace=~"$namespace",job=~"$job"}, instance)', "Instance"),
        variable("route", "label_values(mcp_proxy_requests_in_flight{%s}, route)" % SEL, "Route"),
        variable("backend", "label_values(mcp_proxy_backend_up{%s}, backend)" % SEL, "Backend"),
    ]
    alerts = {"name": "Alerts", "datasource": SOURCE, "enable": True, "iconColor": "red", "titleFormat": "{{alertname}}",
              "expr": 'ALERTS{alertname=~"McpProxy.*",alertstate="firing"}', "tagKeys": "severity,route,backend,instance", "step": "60s"}
    panels, y, number = [], 0, 0
    for row, content in rows:
        number += 1
        panels.append({"type": "row", "id": number, "title": row, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y += 1
        x = tallest = 0
        for each in content:
            width, height = each.pop("size")
            if x + width > 24:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            panels.append({"id": number, **each, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
            x, tallest = x + width, max(tallest, height)
        y += tallest
    return {"uid": f"mcp-oidc-proxy-{name}", "title": f"MCP OIDC proxy / {title}", "description": description, "tags": ["mcp-oidc-proxy"],
            "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
            "time": {"from": "now-3h", "to": "now"}, "templating": {"list": variables}, "annotations": {"list": [alerts]},
            "links": [{"title": "MCP OIDC proxy", "type": "dashboards", "tags": ["mcp-oidc-proxy"], "asDropdown": True, "includeVars": True, "keepTime": True},
                      {"title": "Runbooks", "type": "link", "url": RUNBOOKS + "README.md", "targetBlank": True}],
            "panels": panels}


def main():
    sys.path.insert(0, str(HERE))
    import boards

    stale = []
    for name, made in boards.all_boards():
        path, text = HERE / f"{name}.json", json.dumps(made, indent=1, ensure_ascii=False) + "\n"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run {pathlib.Path(__file__).name} and commit what it writes")


if __name__ == "__main__":
    main()
