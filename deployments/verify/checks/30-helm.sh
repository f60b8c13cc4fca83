# The chart: linted, rendered in every case, checked against strict schemas, unit-tested; its configurations checked by
# the program itself.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
source "$VERIFY_ROOT/deployments/verify/kube-tools.sh"

OLDEST=1.29
NEWEST=1.37
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

proxy="$(binary)"

proof "Helm chart" "copies and README are current" python3 helm/generate.py --check

count="$(find "$CHART/ci" -name '*-values.yaml' | wc -l)"
if ! helm="$(helm_of 4)"; then
  skip "Helm chart" "lint, render, unit tests" "helm is missing (see $cache/go.log)"
  exit 0
fi

lint() {
  local case
  for case in "$CHART"/ci/*-values.yaml; do
    "$helm" lint --strict --quiet "$CHART" --values "$case"
  done
}
proof "Helm chart, $count cases" "helm lint --strict" lint

# Values that no schema knows are refused, at every depth, and so are those of the product that it does not know.
closed() {
  local value
  for value in nosuch=1 image.nosuch=1 service.nosuch=1 sessionStorage.redis.nosuch=1 secrets.nosuch.value=x \
    secrets.clientSecret.nosuch=1 config.nosuch=1 config.oidc.nosuch=1 metrics.podMonitor.nosuch=1 \
    metrics.prometheusRule.thresholds.nosuch.warning=1 metrics.prometheusRule.thresholds.memory_bytes.nosuch=1; do
    if "$helm" template x "$CHART" --values "$CHART/ci/minimal-values.yaml" --set "$value" >"$scratch/closed" 2>&1; then
      echo "$value was accepted"
      return 1
    fi
    grep -q "nosuch" "$scratch/closed" || { cat "$scratch/closed"; return 1; }
  done
}
proof "Helm chart" "unknown values are refused" closed

rendered() {
  local version
  for version in "$OLDEST" "$NEWEST"; do
    render "$helm" "$version" "$scratch/$version"
  done
}
proof "Helm chart, $count cases" "rendered for $OLDEST, $NEWEST" rendered

if need_schemas; then
  for version in "$OLDEST" "$NEWEST"; do
    proof "Helm chart, $count cases" "strict schemas of $version" validate_rendered "$version" "$scratch/$version"/*.yaml
  done
  proof "Helm chart, $count cases" "check-config of each" \
    kube_python check-rendered-config.py "$proxy" "$scratch/$OLDEST"/*.yaml
else
  skip "Helm chart" "strict schemas" "kubernetes-validate or npm is missing"
fi

# The values of the chart's own page, and no secret in a command of the two pages.
own_page() {
  deployments/verify/tools/page.py --files "$scratch/readme" "$CHART/README.md" mcp-oidc-proxy
  "$helm" template mcp-proxy "$CHART" --namespace mcp --kube-version "$NEWEST.0" --values "$scratch/readme/values.yaml" >"$scratch/readme/rendered.yaml"
  validate_rendered "$NEWEST" "$scratch/readme/rendered.yaml"
  kube_python check-rendered-config.py "$proxy" "$scratch/readme/rendered.yaml"
  sed -n '/^kind: Ingress/,/^---/p' "$scratch/readme/rendered.yaml" | grep -x '      secretName: mcp-tls'
  if grep -n -e --from-literal docs/install/helm.md "$CHART/README.md"; then return 1; fi
}
if need_schemas; then proof "Helm chart, README.md" "values: strict, check-config, certificate" own_page; fi

# Every template has a suite.
suites() {
  local template
  for template in "$CHART"/templates/*.yaml "$CHART"/templates/tests/*.yaml "$CHART/templates/NOTES.txt"; do
    grep -rqF "templates: [${template#"$CHART/"}]" "$CHART/tests" || { echo "${template#"$CHART/"} has no suite in tests/"; return 1; }
  done
  # Every refusal has a test that expects it.
  python3 deployments/verify/tools/guards-tested.py "$CHART"
  helm-unittest --strict "$CHART"
}
if need_unittest; then
  proof "Helm chart" "unit tests" suites
else
  skip "Helm chart" "unit tests" "helm-unittest is missing (see $cache/go.log)"
fi

# Manifests that need no Helm.
proof "Kubernetes manifests" "rendered from the chart, current" deployments/kubernetes/render.sh --check "$helm"

plain=(deployments/kubernetes/guide.yaml deployments/sidecar/*.yaml)
for file in deployments/kubernetes/{base,components/*}/*.yaml; do
  case "$file" in */kustomization.yaml | */config.yaml) ;; *) plain+=("$file") ;; esac
done
configurations() {
  local file
  for file in deployments/kubernetes/base/config.yaml deployments/kubernetes/overlays/*/config.yaml; do
    { printf 'kind: ConfigMap\ndata:\n  config.yaml: |\n'; sed 's/^/    /' "$file"; } \
      >"$scratch/$(tr / - <<<"$file")"
  done
  kube_python check-rendered-config.py "$proxy" "$scratch"/deployments-*.yaml deployments/sidecar/*.yaml
}
environment() {
  local variables
  mapfile -t variables < <(kube_python manifest-env.py deployments/kubernetes/guide.yaml mcp-oidc-proxy)
  [ "${#variables[@]}" -gt 5 ]
  # Somewhere without a config.yaml: the environment alone, as in the pod.
  (cd "$scratch" && env -i "${variables[@]}" "$proxy" check-config)
}
if need_schemas; then
  proof "Kubernetes manifests, sidecars" "strict schemas of $OLDEST, $NEWEST" validate_rendered "$OLDEST,$NEWEST" "${plain[@]}"
  proof "Kubernetes manifests, sidecars" "check-config of each" configurations
  proof "deployments/kubernetes/guide.yaml" "check-config of its environment" environment
else
  skip "Kubernetes manifests" "strict schemas" "kubernetes-validate or npm is missing"
fi
