#!/usr/bin/env bash
# A real Prometheus with the shipped rules scrapes the real proxy under load: every query of every dashboard and every
# recording rule has to give a number. What each gave stands in target/verify/monitoring-queries.txt.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$VERIFY_ROOT/deployments/verify/monitoring/tools.sh"

if quick; then
  skip 'rules and dashboards' 'run against a real scrape' 'takes a minute; make verify-deploy'
elif ! python="$(yaml_python)" || ! monitoring_tools || ! have openssl; then
  skip 'rules and dashboards' 'run against a real scrape' 'needs prometheus, yamllint and openssl'
else
  proof 'rules and dashboards' 'run against a real scrape' \
    "$python" -B "$VERIFY_ROOT/deployments/verify/monitoring/run.py" prometheus "$(binary)" "$VERIFY_LOGS/monitoring-queries.txt"
fi
