#!/usr/bin/env python3
"""A summary of a day or a week, from Prometheus, for people: printed, or posted to a webhook of Slack or Discord.

  report.py --prometheus http://localhost:9091 --days 1
  report.py --prometheus http://localhost:9091 --days 7 --webhook-file secrets/discord-url

For a timer (cron: `0 8 * * 1-5 …/report.py … --days 1`). The address in the webhook file is a secret; for Discord it ends
in /slack. Needs Python 3.9 and the recording rules beside it. Exit code 1: Prometheus or the webhook did not answer.
"""

import argparse
import json
import math
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

OBJECTIVE = 0.995


class Prometheus:
    def __init__(self, address):
        self.address = address.rstrip("/")

    def ask(self, expr):
        query = urllib.parse.urlencode({"query": expr})
        with urllib.request.urlopen(f"{self.address}/api/v1/query?{query}", timeout=30) as answer:
            series = json.load(answer)["data"]["result"]
        found = [(each["metric"], float(each["value"][1])) for each in series]
        return sorted(((labels, value) for labels, value in found if not math.isnan(value)), key=lambda each: -each[1])

    def one(self, expr):
        found = self.ask(expr)
        return found[0][1] if found else None


def percent(value):
    return "nothing counted" if value is None else f"{value:.2%}"


def lines(prometheus, days):
    span = f"{days}d"
    requests = prometheus.one(f"sum(increase(mcp_proxy_requests_total[{span}]))")
    # No error was ever counted: there is no such series, which is 0.
    errors = prometheus.one(f'sum(increase(mcp_proxy_requests_total{{status=~"5.."}}[{span}]))') or 0.0
    share = errors / requests if requests else None
    yield f"*MCP OIDC proxy, the last {'day' if days == 1 else f'{days} days'}*"
    yield f"Requests: {requests or 0:,.0f}. Errors: {percent(share)} (availability {percent(None if share is None else 1 - share)}, objective {OBJECTIVE:.1%}, {'met' if share is None or 1 - share >= OBJECTIVE else 'MISSED'})."
    slow = prometheus.ask(f"topk(3, max by (route) (max_over_time(mcp_proxy:request_duration_seconds:p99_5m[{span}])))")
    if slow:
        yield "Slowest p99 of five minutes: " + ", ".join(f"{labels['route']} {value:.2f} s" for labels, value in slow) + "."
    calls = prometheus.one(f"sum(increase(mcp_tool_calls_total[{span}]))")
    failing = prometheus.ask(f'topk(3, sum by (backend, tool_name) (increase(mcp_tool_calls_total{{status=~"tool_error|protocol_error|timeout|upstream_error"}}[{span}])) > 0.5)')
    yield f"Tool calls: {calls or 0:,.0f}." + (" Most failures: " + ", ".join(f"{labels['backend']}/{labels['tool_name']} {value:,.0f}" for labels, value in failing) + "." if failing else " None failed.")
    refused = prometheus.ask(f'topk(3, sum by (reason) (increase(mcp_proxy_auth_requests_total{{result="denied"}}[{span}])) > 0.5)')
    signed = prometheus.one(f'sum(increase(mcp_proxy_auth_requests_total{{flow="code",result="success"}}[{span}]))')
    yield f"Sign-ins: {signed or 0:,.0f}." + (" Refused credentials: " + ", ".join(f"{labels['reason']} {value:,.0f}" for labels, value in refused) + "." if refused else "")
    down = prometheus.ask(f"avg by (backend) (avg_over_time(mcp_proxy_backend_up[{span}])) < 1")
    if down:
        yield "Backends not always up: " + ", ".join(f"{labels['backend']} {percent(value)}" for labels, value in down) + "."
    certificates = prometheus.one("min(mcp_proxy_tls_certificate_not_after_timestamp_seconds) - time()")
    if certificates is not None and certificates < 30 * 86400:
        yield f"A certificate ends in {certificates / 86400:.0f} days."
    rang = prometheus.ask(f'count by (alertname, severity) (max_over_time(ALERTS{{alertname=~"McpProxy.*",alertstate="firing"}}[{span}]))')
    yield "Alerts: " + (", ".join(f"{labels['alertname']} ({labels['severity']})" for labels, _ in rang) if rang else "none") + "."
    now = prometheus.ask('ALERTS{alertname=~"McpProxy.*",alertstate="firing"}')
    if now:
        yield "Still firing: " + ", ".join(sorted({labels["alertname"] for labels, _ in now})) + "."


def post(file, text):
    address = pathlib.Path(file).read_text().strip()
    request = urllib.request.Request(address, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prometheus", required=True, help="its address")
    parser.add_argument("--days", type=int, default=1, help="how far back")
    parser.add_argument("--webhook-file", help="file that holds the webhook's address")
    options = parser.parse_args()
    try:
        text = "\n".join(lines(Prometheus(options.prometheus), options.days))
        print(text)
        if options.webhook_file:
            post(options.webhook_file, text)
    except (urllib.error.URLError, OSError, KeyError) as error:
        # Never the address, which is a secret.
        sys.exit(f"no report: {getattr(error, 'reason', error)}")


if __name__ == "__main__":
    main()
