#!/usr/bin/env python3
"""Runs the real proxy among stand-ins and looks at what it measures. Needs PyYAML and openssl.

  run.py scrape BINARY           what /metrics says after a busy few seconds, for `promtool check metrics`
  run.py compare BINARY <SCRAPE  fails when the scrape has names or labels that docs/metrics.md has not, or lacks some
  run.py prometheus BINARY REPORT [SECONDS]
                                 a real Prometheus with the shipped rules scrapes it under load; fails when a query of a
                                 dashboard or a recording rule gives no number. Writes what each gave into REPORT.
"""

import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse

import lint
import scene
import stand
from client import ask

# What cannot occur in the scene, and why.
ALLOWED = {"runtime.json: Age of secrets": "no secret manager stands in the scene"}
NOT_SCRAPED = {"mcp_proxy_secret_last_refresh_timestamp_seconds": "no secret manager stands in the scene"}


def busy(binary, folder):
    made = scene.Scene(binary, folder)
    try:
        made.start()
        for happens in (made.people, made.strangers, made.agent, made.calls, made.handshakes):
            happens()
        made.outage(1)
        made.reload()
        return made.scrape()
    finally:
        made.stop()


def compare(text):
    known, seen, wrong = lint.catalogue(), set(), []
    for line in text.splitlines():
        sample = re.match(r"([a-zA-Z_:][\w:]*)(?:{(.*)})? ", line)
        if not sample or line.startswith("#"):
            continue
        name, labels = sample[1], set(re.findall(r'(\w+)="', sample[2] or ""))
        seen.add(re.sub(r"_(bucket|sum|count)$", "", name) if name not in known or name.endswith("_bucket") else name)
        if name not in known:
            wrong.append(f"{name} is not in docs/metrics.md")
        elif labels - known[name]:
            wrong.append(f"{name} has labels that docs/metrics.md has not: {sorted(labels - known[name])}")
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in seen}
    missing = sorted(families - shown - set(NOT_SCRAPED))
    print(f"{len(families)} metrics in docs/metrics.md, {len(families & shown)} of them scraped")
    return sorted(set(wrong)) + [f"{name} is in docs/metrics.md and was not scraped" for name in missing]


class Prometheus:
    def __init__(self, folder, target):
        self.port = scene.port()
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(lint.HOME / "rules/*.yml")],
            "scrape_configs": [{"job_name": "mcp-oidc-proxy", "static_configs": [{"targets": [target], "labels": {"namespace": "check"}}]}],
        }
        (folder / "prometheus.yml").write_text(json.dumps(config))
        log = open(folder / "prometheus.log", "wb")
        self.process = subprocess.Popen(
            [shutil.which("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"],
            stdout=log, stderr=log, cwd=folder)
        scene.until("Prometheus is ready", lambda: ask("GET", f"http://127.0.0.1:{self.port}/-/ready").status == 200)

    def get(self, path, **query):
        answer = ask("GET", f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}").json()
        if answer["status"] != "success":
            raise AssertionError(f"{path} {query}: {answer}")
        return answer["data"]

    def numbers(self, expr):
        """The series that an expression gives which are numbers."""
        result = self.get("query", query=expr)["result"]
        return [each for each in result if not math.isnan(float(each["value"][1]))]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def watched(binary, folder, seconds, report):
    made = scene.Scene(binary, folder)
    prometheus = None
    try:
        made.start()
        prometheus = Prometheus(folder, f"127.0.0.1:{made.metrics}")
        scene.until("the first scrapes", lambda: prometheus.numbers("count_over_time(up[1m]) > 2"), 60)
        calls = made.minute(seconds)
        time.sleep(2)
        report(f"# {calls} calls of tools in {seconds} s, besides sign-ins, refusals, streams, an outage and reloads\n")
        empty = []
        for title, each in (("recording rules", recorded()), ("dashboards", lint.expressions())):
            report(f"\n## {title}\n")
            for place, expr, *_ in each:
                found = prometheus.numbers(lint.substituted(expr))
                allowed = ALLOWED.get(place)
                say = f"{len(found):5d} series" if found else f"nothing, as it may: {allowed}" if allowed else "NOTHING"
                report(f"{say}  {place}\n             {expr}\n")
                if not found and not allowed:
                    empty.append(f"{place}: no data for {expr}")
                if found and allowed:
                    empty.append(f"{place}: has data, take it off the list of what may have none")
        groups = prometheus.get("rules")["groups"]
        broken = [f"rule {rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if rule["health"] != "ok"]
        report("\n## alerts at the end\n")
        for alert in prometheus.get("alerts")["alerts"]:
            report(f"{alert['state']:8} {alert['labels']['alertname']} ({alert['labels']['severity']}): {alert['annotations']['description']}\n")
            if "<no value>" in json.dumps(alert["annotations"]) or "error" in alert["annotations"]["description"][:20].lower():
                broken.append(f"annotations of {alert['labels']['alertname']}: {alert['annotations']}")
        return empty + broken + reported(prometheus, folder, report)
    finally:
        if prometheus:
            prometheus.stop()
        made.stop()


def reported(prometheus, folder, report):
    """The summary for people, printed and posted to a stand-in for Slack or Discord."""
    hook, got = stand.Collector(), folder / "webhook"
    got.write_text(hook.url + "/slack\n")
    made = subprocess.run([sys.executable, lint.HOME / "report.py", "--prometheus", f"http://127.0.0.1:{prometheus.port}", "--webhook-file", got], capture_output=True, text=True)
    hook.stop()
    report(f"\n## report.py\n{made.stdout}{made.stderr}")
    posted = json.loads(hook.bodies[0])["text"] if hook.bodies else ""
    wanted = ("Requests: ", "tools/fail", "unknown_api_key", "flaky", "A certificate ends in", "McpProxyCertificateRefused")
    return [f"report.py says nothing of {each!r}" for each in wanted if each not in posted] + ([] if made.returncode == 0 else [made.stderr])


def recorded():
    seen = set()
    for file, rule in lint.rules():
        if "record" in rule and rule["record"] not in seen:
            seen.add(rule["record"])
            yield f"{file}: {rule['record']}", rule["record"]


def main():
    sys.dont_write_bytecode = True
    mode, binary = sys.argv[1], str(pathlib.Path(sys.argv[2]).resolve())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if mode == "scrape":
            print(busy(binary, folder), end="")
            wrong = []
        elif mode == "compare":
            wrong = compare(sys.stdin.read())
        else:
            with open(sys.argv[3], "w") as report:
                wrong = watched(binary, folder, int(sys.argv[4]) if len(sys.argv) > 4 else 45, report.write)
    for each in wrong:
        print(each)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
