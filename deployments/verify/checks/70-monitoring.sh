#!/usr/bin/env bash
# deployments/monitoring: rules, scrape configurations, Alertmanager, dashboards, logs, against their own validators, the
# catalogue of metrics and the runbooks.
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$VERIFY_ROOT/deployments/verify/monitoring/tools.sh"
home="$VERIFY_ROOT/deployments/monitoring" here="$VERIFY_ROOT/deployments/verify/monitoring"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

tests() { printf '%s\n' "$home"/rules/tests/*.yml | xargs -P "$(nproc)" -n 1 promtool test rules; }

# Debian's build knows no Kubernetes: that part is replaced, everything else is read as it is.
without_kubernetes() {
  cp -r "$home/rules" "$scratch/" &&
    sed '/^    kubernetes_sd_configs:/,/^    relabel_configs:/{/relabel_configs/!d}' "$home/prometheus-kubernetes.yml" >"$scratch/prometheus.yml" &&
    grep -q 'role: pod' "$home/prometheus-kubernetes.yml" && ! grep -q kubernetes_sd "$scratch/prometheus.yml" &&
    promtool check config "$scratch/prometheus.yml"
}

# routes SEVERITY RECEIVERS: who hears of it.
routes() {
  local got
  got="$(amtool config routes test --config.file="$home/alertmanager.yml" "severity=$1" alertname=McpProxyDown 2>"$scratch/amtool")"
  [ "$got" = "$2" ] || { echo "$1 goes to $got, not to $2"; return 1; }
}
alertmanager() {
  amtool check-config "$home/alertmanager.yml"
  routes critical on-call,slack-and-discord
  routes warning slack
  routes info discord
  amtool template render --template.glob="$home/templates/*.tmpl" --template.text='{{ template "mcp.title" . }}{{ template "mcp.text" . }}' | grep 'What to do:' >/dev/null
  # Names that inhibit something have to be names of alerts.
  local name
  grep -o 'McpProxy[A-Za-z]\+' "$home/alertmanager.yml" | sort -u | while read -r name; do
    grep -q "alert: $name" "$home/rules/alerts.yml" || { echo "there is no alert $name"; return 1; }
  done
}

queries() { "$python" -B "$here/lint.py" queries "$scratch/queries.yml" && promtool check rules "$scratch/queries.yml"; }

scrape() {
  "$python" -B "$here/run.py" scrape "$proxy" >"$scratch/metrics"
  promtool check metrics <"$scratch/metrics"
  "$python" -B "$here/run.py" compare "$proxy" <"$scratch/metrics"
}

proof 'Grafana dashboards' 'as their script writes them' python3 "$home/dashboards/generate.py" --check

if python="$(yaml_python)"; then
  if have yamllint; then
    proof 'monitoring files' yamllint yamllint -d '{extends: relaxed, rules: {line-length: disable}}' "$home"
  else
    skip 'monitoring files' yamllint 'no yamllint'
  fi
  proof 'Prometheus rules, Grafana dashboards' 'metrics and labels in the catalogue' "$python" -B "$here/lint.py" names
  proof 'Prometheus alerts' 'runbook pages, tests both ways' "$python" -B "$here/lint.py" alerts
  proof 'Grafana dashboards' 'units, texts, links, variables' "$python" -B "$here/lint.py" dashboards
  proof 'Grafana dashboards' 'show the whole catalogue' "$python" -B "$here/lint.py" coverage
  proof 'runbooks, pages about operations' 'links' "$python" -B "$here/lint.py" docs
  proof 'log shipping (Vector)' 'schema only' "$python" -B "$here/lint.py" vector
else
  # A row for each that was not proven.
  while IFS='|' read -r what how; do skip "$what" "$how" 'no PyYAML (pip install yamllint)'; done <<'ROWS'
monitoring files|yamllint
Prometheus rules, Grafana dashboards|metrics and labels in the catalogue
Prometheus alerts|runbook pages, tests both ways
Grafana dashboards|units, texts, links, variables
Grafana dashboards|show the whole catalogue
runbooks, pages about operations|links
log shipping (Vector)|schema only
ROWS
fi

if need_pip check-jsonschema check-jsonschema==0.39.0; then
  proof 'monitoring compose.yml' 'compose schema' check-jsonschema --builtin-schema vendor.compose-spec "$home/compose.yml"
else
  skip 'monitoring compose.yml' 'compose schema' 'no check-jsonschema'
fi

if monitoring_tools; then
  proof 'Prometheus rules' 'promtool check rules' promtool check rules "$home"/rules/*.yml
  proof 'Prometheus rules' 'promtool test rules' tests
  proof 'prometheus.yml' 'promtool check config' promtool check config "$home/prometheus.yml"
  proof 'prometheus-kubernetes.yml' 'promtool, discovery schema only' without_kubernetes
  proof 'alertmanager.yml' 'amtool, routes by severity' alertmanager
  if [ -n "${python:-}" ]; then
    proof 'Grafana dashboards' 'promtool parses every query' queries
    if have openssl && proxy="$(binary)"; then
      proof '/metrics of the real proxy' 'promtool check metrics' scrape
    else
      skip '/metrics of the real proxy' 'promtool check metrics' 'no binary or no openssl'
    fi
  else
    skip 'Grafana dashboards' 'promtool parses every query' 'no PyYAML (pip install yamllint)'
    skip '/metrics of the real proxy' 'promtool check metrics' 'no PyYAML (pip install yamllint)'
  fi
else
  while IFS='|' read -r what how; do skip "$what" "$how" 'no Debian packages prometheus, prometheus-alertmanager'; done <<'ROWS'
Prometheus rules|promtool check rules
Prometheus rules|promtool test rules
prometheus.yml|promtool check config
prometheus-kubernetes.yml|promtool, discovery schema only
alertmanager.yml|amtool, routes by severity
Grafana dashboards|promtool parses every query
/metrics of the real proxy|promtool check metrics
ROWS
fi
