#!/usr/bin/env bash
# Writes base/, components/ and the configurations of overlays/ out of the chart, or says what of them is stale.
#
#   deployments/kubernetes/render.sh [--check] [HELM]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
check=''
if [ "${1:-}" = --check ]; then check=1; shift; fi
helm="${1:-helm}"
chart=../../helm/mcp-oidc-proxy
out="$(mktemp -d)"
trap 'rm -rf "$out"' EXIT

# rendered VALUES...: the chart's objects without what only Helm needs.
rendered() {
  local values=()
  for name; do values+=(--values "values/$name.yaml"); done
  "$helm" template mcp-oidc-proxy "$chart" --kube-version 1.32.0 "${values[@]}" |
    sed -E '/^# Source: /d; /^ +helm\.sh\/chart: /d; /^ +app\.kubernetes\.io\/managed-by: /d; /^$/d; /^      annotations:$/d; /^        checksum\/(config|secrets): /d'
}

# of KIND [NAME PATTERN]: the objects of standard input that are of this kind.
of() {
  awk -v kind="$1" -v name="${2:-.}" '
    function flush() { if (text ~ ("\nkind: " kind "\n") && text ~ ("\n  name: [^\n]*" name)) printf "---%s", text; text = "" }
    /^---$/ { flush(); text = "\n"; next } { text = text $0 "\n" } END { flush() }' |
    sed -e '1{/^---$/d}' | sed -e :a -e '/^\n*$/{$d;N;ba' -e '}'
}

# configuration: the config.yaml of the ConfigMap on standard input.
configuration() {
  echo '# Made by render.sh; the keys are in docs/configuration.md.'
  of ConfigMap | sed -n '/^  config.yaml: |/,$p' | sed -e 1d -e 's/^    //' -e '/^$/d'
}

mkdir -p "$out/base" "$out"/components/{autoscaling,dev-redis,ingress,monitoring} "$out"/overlays/{development,staging,production}
rendered base >"$out/all"
for kind in Deployment Service ServiceAccount PodDisruptionBudget NetworkPolicy; do
  of "$kind" <"$out/all" >"$out/base/$(tr '[:upper:]' '[:lower:]' <<<"$kind").yaml"
done
configuration <"$out/all" >"$out/base/config.yaml"

rendered base components >"$out/all"
of HorizontalPodAutoscaler <"$out/all" >"$out/components/autoscaling/hpa.yaml"
of Ingress <"$out/all" >"$out/components/ingress/ingress.yaml"
of PodMonitor <"$out/all" >"$out/components/monitoring/podmonitor.yaml"
of '[A-Za-z]+' dev-redis <"$out/all" >"$out/components/dev-redis/redis.yaml"

for overlay in development staging production; do
  rendered base "$overlay" | configuration >"$out/overlays/$overlay/config.yaml"
done

rm "$out/all"
stale=0
while read -r file; do
  [ -s "$out/$file" ] || { echo "$file came out empty" >&2; exit 1; }
  cmp -s "$out/$file" "$file" && continue
  if [ -n "$check" ]; then
    echo "deployments/kubernetes/$file is stale: run deployments/kubernetes/render.sh" >&2
    diff -u "$file" "$out/$file" | head -n 20 >&2 || true
    stale=1
  else
    cp "$out/$file" "$file"
    echo "wrote $file"
  fi
done < <(cd "$out" && find . -type f | sed 's#^\./##' | sort)
exit "$stale"
