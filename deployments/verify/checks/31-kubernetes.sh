# The chart with both Helms for several versions of Kubernetes, the sidecar chart, a policy scanner, and the real binary run as the
# manifests say.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
if quick; then skip "Helm chart, manifests, sidecars" "Helm 3, kustomize, checkov, run" "not in the quick run"; exit 0; fi
source "$VERIFY_ROOT/deployments/verify/kube-tools.sh"

VERSIONS=(1.29 1.32 1.34 1.37)
CHECKOV_VERSION=3.3.30
proxy="$(binary)"
scratch="$(mktemp -d)"
chmod 0755 "$scratch"
trap 'rm -rf "$scratch"' EXIT
count="$(find "$CHART/ci" -name '*-values.yaml' | wc -l)"

if ! need_schemas; then skip "Helm chart" "strict schemas" "kubernetes-validate or npm is missing"; exit 0; fi

# The parent chart with the chart in it, without a `helm dependency build`, which would write into the repository.
cp -r deployments/sidecar/chart "$scratch/chart"
mkdir -p "$scratch/chart/charts"
cp -r "$CHART" "$scratch/chart/charts/"

matrix() {
  local helm="$1" version
  for version in "${VERSIONS[@]}"; do
    render "$helm" "$version" "$scratch/$2/$version"
    validate_rendered "$version" "$scratch/$2/$version"/*.yaml
  done
}
sidecar_chart() {
  local helm="$1" native
  for native in true false; do
    "$helm" lint --strict --quiet "$scratch/chart" --set "mcp-oidc-proxy.sidecar.native=$native"
    "$helm" template server "$scratch/chart" --namespace apps --kube-version 1.34.0 --set "mcp-oidc-proxy.sidecar.native=$native" \
      >"$scratch/sidecar-$2-$native.yaml"
    # Once, and where it belongs.
    test "$(grep -c '^ *- name: mcp-oidc-proxy$' "$scratch/sidecar-$2-$native.yaml")" = 1
    test "$(grep -c '^          restartPolicy: Always$' "$scratch/sidecar-$2-$native.yaml")" = "$([ "$native" = true ] && echo 1 || echo 0)"
  done
  validate_rendered 1.34 "$scratch/sidecar-$2"-*.yaml
  kube_python check-rendered-config.py "$proxy" "$scratch/sidecar-$2"-*.yaml
}
# The files of the page, in a chart beside this one.
sidecar_page() {
  local helm="$1" folder="$scratch/page-$2"
  deployments/verify/tools/page.py --files "$folder/mcp-server" docs/install/sidecar.md "With a chart of yours"
  cp -r "$CHART" "$folder/"
  "$helm" dependency build "$folder/mcp-server"
  "$helm" lint --strict --quiet "$folder/mcp-server"
  "$helm" template server "$folder/mcp-server" --namespace apps --kube-version 1.34.0 >"$folder/page.yaml"
  validate_rendered 1.34 "$folder/page.yaml"
  kube_python check-rendered-config.py "$proxy" "$folder/page.yaml"
  kube_python pod-security.py "$folder/page.yaml"
  # A changed configuration replaces the pods.
  "$helm" template server "$folder/mcp-server" --namespace apps --set mcp-oidc-proxy.config.logging.level=debug >"$folder/changed.yaml"
  test "$(grep -c '^        checksum/config: ' "$folder/page.yaml")" = 1
  if grep -qF "$(grep '^        checksum/config: ' "$folder/page.yaml")" "$folder/changed.yaml"; then return 1; fi
  # What the page says of the group is so: without it the files are not readable, and the other settings are missed as well.
  grep -v '^        fsGroup: ' "$folder/page.yaml" >"$folder/without-group.yaml"
  grep -v '^      enableServiceLinks: ' "$folder/page.yaml" >"$folder/without-links.yaml"
  sed '/^      securityContext:/,/^      initContainers:/{/initContainers/!d}' "$folder/page.yaml" >"$folder/without-context.yaml"
  refused 'without an fsGroup' "$folder/without-group.yaml"
  refused 'enableServiceLinks is not false' "$folder/without-links.yaml"
  refused 'runAsNonRoot is not true' "$folder/without-context.yaml"
}
# refused WORDS FILE: the pods of this file are found wrong for that reason.
refused() {
  if kube_python pod-security.py "$2" 2>"$2.log"; then echo "$2: nothing wrong was found"; return 1; fi
  grep -F "$1" "$2.log"
}
secure() { kube_python pod-security.py "$scratch"/*/1.34/*.yaml "$scratch"/sidecar-*.yaml deployments/sidecar/*.yaml deployments/kubernetes/guide.yaml; }
package() {
  "$1" package "$CHART" --destination "$scratch/package"
  # What is for this repository only is not in it.
  if tar -tzf "$scratch"/package/mcp-oidc-proxy-*.tgz | grep -E '/(ci|tests)/' | grep -v /templates/tests/; then return 1; fi
}
for major in 3 4; do
  if ! helm="$(helm_of "$major")"; then skip "Helm chart, Helm $major" "rendered" "helm $major is missing"; continue; fi
  version="$("$helm" version --template '{{.Version}}' 2>/dev/null || echo "$major")"
  proof "Helm chart, $count cases, Helm $version" "rendered, strict, ${VERSIONS[*]}" matrix "$helm" "$major"
  proof "deployments/sidecar/chart, Helm $version" "native and classic: strict" sidecar_chart "$helm" "$major"
  proof "docs/install/sidecar.md, Helm $version" "its chart: strict, Pod Security, check-config" sidecar_page "$helm" "$major"
  proof "Helm chart, Helm $version" "packaged" package "$helm"
done
if [ -d "$scratch/4" ]; then proof "rendered chart, manifests, sidecars" "Pod Security restricted, readable files" secure; fi
same() {
  local version
  for version in "${VERSIONS[@]}"; do
    # They differ in the order of objects and in empty lines.
    diff <(cat "$scratch/3/$version"/*.yaml | grep -v '^$' | sort) <(cat "$scratch/4/$version"/*.yaml | grep -v '^$' | sort)
  done
}
if [ -d "$scratch/3" ] && [ -d "$scratch/4" ]; then proof "Helm chart" "Helm 3 and 4 render the same" same; fi

overlays() {
  local overlay
  for overlay in development staging production; do
    kubectl kustomize "deployments/kubernetes/overlays/$overlay" >"$scratch/overlay-$overlay.yaml"
  done
  validate_rendered 1.30,1.37 "$scratch"/overlay-*.yaml
  kube_python check-rendered-config.py "$proxy" "$scratch"/overlay-*.yaml
  kube_python pod-security.py "$scratch"/overlay-*.yaml
}
# The overlay of one who has other ports, made by the commands of the page.
ports_page() {
  local folder="$scratch/ports"
  mkdir -p "$folder/deployments"
  cp -r deployments/kubernetes "$folder/deployments/"
  {
    "$VERIFY_ROOT/deployments/verify/tools/page.py" docs/install/kubernetes.md "Kustomize" | grep '^cp -r deployments/kubernetes/overlays/'
    "$VERIFY_ROOT/deployments/verify/tools/page.py" docs/install/kubernetes.md "Ports of your own"
  } >"$folder/commands.sh"
  (cd "$folder" && bash -euxo pipefail commands.sh && kubectl kustomize deployments/kubernetes/overlays/ours >ours.yaml)
  validate_rendered 1.30,1.37 "$folder/ours.yaml"
  # They stand beside the others for addresses outside the cluster, and nowhere else.
  test "$(sed -n '/^kind: NetworkPolicy/,/^---/{/^  egress:/,/^  ingress:/s/^ *-\{0,1\} *port: //p}' "$folder/ours.yaml" | tr '\n' ' ')" = \
    "53 53 5353 5353 443 3000 6379 8443 6380 "
}
if need_kubectl; then
  proof "deployments/kubernetes/overlays" "kustomize, strict, check-config, Pod Security" overlays
  proof "docs/install/kubernetes.md" "ports of the network policy: kustomize, strict" ports_page
else
  skip "deployments/kubernetes/overlays" "kustomize" "kubectl is missing"
fi

# Left out, with reasons:
#   CKV_K8S_21  the default namespace: examples name their own, the chart takes the release's
#   CKV_K8S_43  images by digest: a value of the chart (image.digest), and the reader's in manifests
#   CKV_K8S_40  users above 10000: 65532 is, but not what checkov reads out of extraContainers
#   CKV_K8S_35  secrets as files: they are; guide.yaml has them in the environment, because that is its shape
#   CKV2_K8S_6  a network policy for each pod: guide.yaml leaves the proxy open, the chart has one
#   CKV_K8S_15  pulling always: tags are versions and never move, and a registry that is away must not keep a pod from starting
#   CKV_K8S_8, CKV_K8S_9  probes: a pod that `helm test` runs once has none, and the examples' servers have one of the two
scan() {
  mkdir -p "$scratch/scan"
  cp "$scratch/4/1.34"/{minimal,dev,many-backends,redis-sentinel,monitoring}.yaml deployments/kubernetes/guide.yaml deployments/sidecar/*.yaml "$scratch/scan/"
  LOG_LEVEL=ERROR checkov --framework kubernetes --directory "$scratch/scan" --compact --quiet --skip-download \
    --skip-check CKV_K8S_21,CKV_K8S_43,CKV_K8S_40,CKV_K8S_35,CKV2_K8S_6,CKV_K8S_15,CKV_K8S_8,CKV_K8S_9
}
if [ -d "$scratch/4" ] && need_pip checkov "checkov==$CHECKOV_VERSION"; then
  proof "rendered chart, manifests, sidecars" "checkov" scan
else
  skip "rendered chart, manifests, sidecars" "checkov" "checkov or helm is missing"
fi

# The real binary, as the manifests say.
alone() { unshare --net sh -c 'ip link set lo up && exec "$@"' sh timeout 300 "$cache/venv-kubernetes-validate/bin/python" -B deployments/verify/container/kube.py "$@"; }
if [ "$(id -u)" != 0 ] || ! need_deb ip iproute2 || ! need_deb redis-server redis-server; then
  skip "chart and guide.yaml" "run" "needs root for a network namespace, iproute2 and redis-server"
elif ! tests/parts/setup.sh >"$VERIFY_LOGS/parts.log" 2>&1; then
  skip "chart and guide.yaml" "run" "tests/parts/setup.sh failed"
else
  proof "deployments/kubernetes/guide.yaml" "run: three pods, probes, sign-in, tool call" alone guide deployments/kubernetes/guide.yaml "$proxy"
  if helm="$(helm_of 4)"; then
    "$helm" template mcp "$CHART" --namespace prod --kube-version 1.34.0 --values "$CHART/ci/minimal-values.yaml" --set service.port=8080 >"$scratch/run.yaml"
    proof "Helm chart" "run: probes, sign-in, tool call, helm test, end" alone chart "$scratch/run.yaml" "$proxy"
    # The pod of the page's values, and its commands without those for a cluster, which are run with one elsewhere.
    page=deployments/verify/tools/page.py
    mkdir "$scratch/page"
    (cd "$scratch/page" && bash -euo pipefail <("$VERIFY_ROOT/$page" "$VERIFY_ROOT/docs/install/helm.md" "2. Values"))
    "$helm" template mcp-oidc-proxy "$CHART" --namespace mcp-system --kube-version 1.34.0 --values "$scratch/page/values.yaml" >"$scratch/page/run.yaml"
    # People come in by https, with the certificate that the page names.
    certificate() { sed -n '/^kind: Ingress/,/^---/p' "$scratch/page/run.yaml" | grep -x '      secretName: mcp-tls'; }
    proof "docs/install/helm.md" "its Ingress has a certificate" certificate
    "$page" docs/install/helm.md "4. A tool call" | grep -v port-forward >"$scratch/page/commands.sh"
    proof "docs/install/helm.md" "run: to a tool call" alone page "$scratch/page/run.yaml" "$proxy" "$scratch/page/commands.sh"
  fi
fi
