# The runbooks: what they print is run, what they name is there.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
source "$VERIFY_ROOT/deployments/verify/monitoring/tools.sh"
source "$VERIFY_ROOT/deployments/verify/kube-tools.sh"
here="$VERIFY_ROOT/deployments/verify/runbooks"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

if ! python="$(yaml_python)"; then
  skip "docs/runbooks" "run as printed" "no PyYAML (pip install yamllint)"
  exit 0
fi

proof "docs: Compose services, containers, -n of kubectl" "compared with what there is" "$python" -B "$here/lint.py" names

proof "docs/runbooks" "commands and what they print, in every section" "$python" -B "$here/lint.py" outputs

# The chart with all its cases, with the values of the page over them.
closed_by_helm() {
  local case name
  mkdir "$scratch/rendered"
  "$python" -B "$here/deny.py" values "$scratch"
  for case in "$CHART"/ci/*-values.yaml; do
    ! grep -q '^existingConfigMap: .' "$case" || continue
    name="$(basename "$case" -values.yaml)"
    "$helm" template mcp-oidc-proxy "$CHART" -n mcp-system --values "$case" --values "$scratch/deny-all-values.yaml" >"$scratch/rendered/$name.yaml"
  done
  "$python" -B "$here/deny.py" rendered "$scratch"/rendered/*.yaml
  ! need_schemas || kube_python check-rendered-config.py "$proxy" "$scratch"/rendered/*.yaml
}

proxy="$(binary)"
if have openssl; then
  proof "emergency.md: deny all, systemd" "run as printed on four configurations" "$python" -B "$here/deny.py" systemd "$proxy"
  if need_kubectl; then
    proof "emergency.md: deny all, Compose, patch" "their arguments, on four configurations" "$python" -B "$here/deny.py" container "$proxy"
  else
    skip "emergency.md: deny all, Compose, patch" "their arguments" "kubectl is missing"
  fi
fi
if helm="$(helm_of 4)"; then
  proof "emergency.md: deny all, Helm" "rendered over every case of the chart" closed_by_helm
else
  skip "emergency.md: deny all, Helm" "rendered over every case of the chart" "helm is missing (see $cache/go.log)"
fi
