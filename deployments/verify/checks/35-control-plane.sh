# The chart and the manifests against a real control plane: etcd, kube-apiserver, controller-manager and scheduler, built from
# source, with nodes that kwok pretends to be. The server validates, defaults and admits for real, Pod Security "restricted" is enforced, and
# controllers roll out for real; only the containers do not run, so pods are as ready as kwok says.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
if quick; then skip "Helm chart, manifests, sidecars" "control plane" "not in the quick run"; exit 0; fi
source "$VERIFY_ROOT/deployments/verify/kube-tools.sh"

if ! helm4="$(helm_of 4)" || ! helm3="$(helm_of 3)" || ! need_control_plane || ! need_schemas; then
  skip "Helm chart" "control plane" "etcd, kube-apiserver, kwok or helm could not be built (see $cache/go.log)"
  exit 0
fi

work="$(mktemp -d)"
# A proof is a shell of its own, so process numbers are kept in files. The last one started ends first.
finish() {
  local name pid
  for name in kwok scheduler controller-manager apiserver etcd; do
    [ -s "$work/$name.pid" ] || continue
    pid="$(cat "$work/$name.pid")"
    kill "$pid" 2>/dev/null || continue
    timeout 20 tail --pid="$pid" -f /dev/null || kill -KILL "$pid" 2>/dev/null || true
  done
  mkdir -p "$VERIFY_LOGS/control-plane" && cp "$work"/*.log "$VERIFY_LOGS/control-plane/" 2>/dev/null
  rm -rf "$work"
}
trap finish EXIT
export HOME="$work" KUBECONFIG="$work/kubeconfig"

# start NAME COMMAND...: a server of the control plane, which ends with this script.
start() {
  local name="$1"
  shift
  "$@" >"$work/$name.log" 2>&1 </dev/null &
  echo "$!" >"$work/$name.pid"
}

# until_true SECONDS COMMAND...: waits for it.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "gave up waiting: $*" >&2; return 1; }
    sleep 1
  done
}

etcd_port="$(free_port)"; peer_port="$(free_port)"; api_port="$(free_port)"; kwok_port="$(free_port)"
token="$(openssl rand -hex 16)"
openssl genrsa -out "$work/accounts.key" 2048 2>/dev/null
printf '%s,admin,admin,"system:masters"\n' "$token" >"$work/tokens.csv"
chmod 600 "$work/tokens.csv"
cat >"$KUBECONFIG" <<YAML
apiVersion: v1
kind: Config
current-context: here
clusters: [{ name: here, cluster: { server: "https://127.0.0.1:$api_port", insecure-skip-tls-verify: true } }]
users: [{ name: admin, user: { token: "$token" } }]
contexts: [{ name: here, context: { cluster: here, user: admin } }]
YAML

# The stages of kwok's own package, and one more: pods of \`helm test\` succeed, for there is nobody who would run them.
stages="$(go env GOMODCACHE)/sigs.k8s.io/kwok@$KWOK_VERSION/kustomize/stage"
GOFLAGS=-mod=mod go mod download "sigs.k8s.io/kwok@$KWOK_VERSION"
for file in "$stages"/node/fast/node-*.yaml "$stages"/node/heartbeat/node-*.yaml "$stages"/pod/fast/pod-*.yaml; do
  printf -- '---\n'
  cat "$file"
done >"$work/stages.yaml"
{
  printf -- '---\n'
  sed -e 's/name: pod-complete/name: test-complete/' \
    -e "s/    - key: '.metadata.ownerReferences.*/    - key: '.metadata.labels[\"app.kubernetes.io\/component\"]'/" -e "s/      - 'Job'/      - 'test'/" \
    "$stages/pod/fast/pod-complete.yaml"
} >>"$work/stages.yaml"

control_plane() {
  start etcd etcd --data-dir "$work/etcd" --listen-client-urls "http://127.0.0.1:$etcd_port" \
    --advertise-client-urls "http://127.0.0.1:$etcd_port" --listen-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" --initial-cluster "default=http://127.0.0.1:$peer_port"
  start apiserver kube-apiserver --etcd-servers "http://127.0.0.1:$etcd_port" --secure-port "$api_port" --bind-address 127.0.0.1 \
    --advertise-address 127.0.0.1 --cert-dir "$work/certs" --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$work/accounts.key" --service-account-signing-key-file "$work/accounts.key" \
    --authorization-mode RBAC --token-auth-file "$work/tokens.csv" --service-cluster-ip-range 10.96.0.0/16
  until_true 180 kubectl get --raw /readyz
  start controller-manager kube-controller-manager --kubeconfig "$KUBECONFIG" --leader-elect=false --bind-address 127.0.0.1 \
    --secure-port "$(free_port)" --service-account-private-key-file "$work/accounts.key" --use-service-account-credentials=false
  start scheduler kube-scheduler --kubeconfig "$KUBECONFIG" --leader-elect=false --bind-address 127.0.0.1 --secure-port "$(free_port)"
  start kwok kwok --kubeconfig "$KUBECONFIG" --manage-all-nodes=true --server-address "127.0.0.1:$kwok_port" --config "$work/stages.yaml"
  local node
  for node in one two three; do
    kubectl apply --filename - <<YAML
apiVersion: v1
kind: Node
metadata:
  name: node-$node
  labels: { kubernetes.io/hostname: node-$node, topology.kubernetes.io/zone: zone-$node, kubernetes.io/os: linux }
status:
  allocatable: { cpu: "8", memory: 16Gi, pods: "100" }
  capacity: { cpu: "8", memory: 16Gi, pods: "100" }
YAML
  done
  # Kinds of others, without a schema: those are held against strict ones elsewhere.
  local kind
  for kind in ServiceMonitor:monitoring.coreos.com/v1 PodMonitor:monitoring.coreos.com/v1 PrometheusRule:monitoring.coreos.com/v1 \
    HTTPRoute:gateway.networking.k8s.io/v1 Certificate:cert-manager.io/v1 ExternalSecret:external-secrets.io/v1 \
    VerticalPodAutoscaler:autoscaling.k8s.io/v1; do
    local name group version="${kind##*/}"
    name="${kind%%:*}"; group="${kind#*:}"; group="${group%/*}"
    local plural
    plural="$(tr '[:upper:]' '[:lower:]' <<<"$name")s"
    kubectl apply --filename - <<YAML
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: $plural.$group
  annotations: { api-approved.kubernetes.io: unapproved }
spec:
  group: $group
  scope: Namespaced
  names: { kind: $name, plural: $plural, singular: ${plural%s} }
  versions:
    - name: $version
      served: true
      storage: true
      schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
YAML
  done
  local namespace
  for namespace in prod prod3 mcp monitoring apps; do
    kubectl create namespace "$namespace"
    kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted
    kubectl -n "$namespace" create secret generic mcp-proxy --from-literal=client-secret=a-secret-of-sixteen-bytes --from-literal=root-key="$(openssl rand -base64 32)"
  done
  until_true 60 kubectl wait --for=condition=Ready nodes --all --timeout=1s
  # The controller manager makes it, and pods need it.
  until_true 60 kubectl -n apps get serviceaccount default
}
proof "control plane $KUBERNETES_VERSION" "starts" control_plane
kubectl get --raw /readyz >/dev/null 2>&1 || exit 0

# Pod Security is at work: a pod without the restrictions is refused.
enforced() {
  if kubectl -n prod run bare --image=example.com/bare:1 >"$work/refused" 2>&1; then echo "a bare pod was let in"; return 1; fi
  grep -q 'violates PodSecurity "restricted' "$work/refused"
}
proof "control plane" "Pod Security restricted is enforced" enforced

# Every case is accepted by the server, without a warning.
accepted() {
  local case file
  render "$helm4" "$(cut -d. -f1,2 <<<"${KUBERNETES_VERSION#v}")" "$work/cases"
  for file in "$work"/cases/*.yaml; do
    case="$(basename "$file" .yaml)"
    kubectl apply --dry-run=server --filename "$file" >"$work/applied" 2>&1 || { echo "$case:"; cat "$work/applied"; return 1; }
    if grep -i '^warning' "$work/applied" | grep -v 'unrecognized format\|missing the kubectl.kubernetes.io/last-applied'; then echo "$case: a warning"; return 1; fi
  done
}
kubectl create namespace mcp-system >/dev/null
proof "Helm chart, $(find "$CHART/ci" -name '*.yaml' | wc -l) cases" "accepted by the API server" accepted

values=(--values "$CHART/ci/minimal-values.yaml")
shown() { kubectl -n "$1" get configmap mcp-mcp-oidc-proxy -o jsonpath='{.data.config\.yaml}'; }
# is TEXT ARGUMENT...: what kubectl says with these arguments.
is() {
  local wanted="$1"
  shift
  [ "$(kubectl "$@")" = "$wanted" ]
}
endpoints() { [ "$(kubectl -n "$1" get endpointslices -l kubernetes.io/service-name=mcp-mcp-oidc-proxy -o jsonpath='{.items[*].endpoints[*].addresses[0]}' | wc -w)" = "$2" ]; }
replaced() { [ -z "$(kubectl -n "$1" get pods -o name | sort | comm -12 - "$2")" ]; }
lifecycle() {
  local helm="$1" namespace="$2"
  "$helm" install mcp "$CHART" --namespace "$namespace" "${values[@]}" --wait --timeout 180s
  until_true 30 is 3 -n "$namespace" get deployment mcp-mcp-oidc-proxy -o jsonpath='{.status.readyReplicas}'
  until_true 30 is 1 -n "$namespace" get poddisruptionbudget mcp-mcp-oidc-proxy -o jsonpath='{.status.disruptionsAllowed}'
  until_true 30 endpoints "$namespace" 3
  # The three pods stand on three nodes.
  test "$(kubectl -n "$namespace" get pods -o jsonpath='{.items[*].spec.nodeName}' | tr ' ' '\n' | sort -u | wc -l)" = 3
  # An upgrade that changes the configuration replaces the pods.
  kubectl -n "$namespace" get pods -o name | sort >"$work/before"
  "$helm" upgrade mcp "$CHART" --namespace "$namespace" "${values[@]}" --set config.logging.level=debug --wait --timeout 180s
  shown "$namespace" | grep 'level: debug' >/dev/null
  kubectl -n "$namespace" rollout status deployment/mcp-mcp-oidc-proxy --timeout=120s
  until_true 60 replaced "$namespace" "$work/before"
  # One that cannot work changes nothing.
  if "$helm" upgrade mcp "$CHART" --namespace "$namespace" "${values[@]}" --set drain.preStop=none,terminationGracePeriodSeconds=1; then return 1; fi
  shown "$namespace" | grep 'level: debug' >/dev/null
  # Back again.
  "$helm" rollback mcp 1 --namespace "$namespace" --wait --timeout 180s
  if shown "$namespace" | grep 'level: debug' >/dev/null; then return 1; fi
  kubectl -n "$namespace" rollout status deployment/mcp-mcp-oidc-proxy --timeout=120s
  "$helm" test mcp --namespace "$namespace" --timeout 60s
}
proof "Helm chart, Helm 4" "install, upgrade, rollback, test" lifecycle "$helm4" prod
proof "Helm chart, Helm 3" "install, upgrade, rollback, test" lifecycle "$helm3" prod3

# The pods of a chart that breaks the restrictions never come.
broken() {
  if "$helm4" install broken "$CHART" --namespace mcp "${values[@]}" --set securityContext.allowPrivilegeEscalation=true --wait --timeout 20s; then return 1; fi
  kubectl -n mcp get events -o jsonpath='{.items[*].message}' | grep 'violates PodSecurity "restricted' >/dev/null
  "$helm4" uninstall broken --namespace mcp
}
proof "Helm chart" "pods that break the restrictions are refused" broken

scaled() {
  "$helm4" upgrade mcp "$CHART" --namespace prod "${values[@]}" --set autoscaling.enabled=true --wait --timeout 180s
  kubectl -n prod get hpa mcp-mcp-oidc-proxy
  # The number of pods is the autoscaler's from now on.
  kubectl -n prod scale deployment mcp-mcp-oidc-proxy --replicas=5
  "$helm4" upgrade mcp "$CHART" --namespace prod "${values[@]}" --set autoscaling.enabled=true,config.logging.level=warn --wait --timeout 180s
  test "$(kubectl -n prod get deployment mcp-mcp-oidc-proxy -o jsonpath='{.spec.replicas}')" = 5
  "$helm4" uninstall mcp --namespace prod --wait
  test -z "$(kubectl -n prod get all,configmaps,networkpolicies,poddisruptionbudgets,serviceaccounts -l app.kubernetes.io/instance=mcp -o name)"
}
proof "Helm chart" "autoscaler keeps its number; uninstall leaves nothing" scaled

sidecars() {
  local file
  for file in native classic; do
    kubectl apply --filename "deployments/sidecar/$file.yaml"
    kubectl -n mcp rollout status deployment/mcp-server --timeout=120s
    kubectl delete --filename "deployments/sidecar/$file.yaml" --wait
  done
  cp -r deployments/sidecar/chart "$work/chart"
  mkdir -p "$work/chart/charts" && cp -r "$CHART" "$work/chart/charts/"
  "$helm4" install server "$work/chart" --namespace apps --wait --timeout 120s
  kubectl -n apps rollout status deployment/server --timeout=60s
  "$helm4" uninstall server --namespace apps --wait
  # The chart of the page, in a place as empty as a newcomer's.
  deployments/verify/tools/page.py --files "$work/beside/mcp-server" docs/install/sidecar.md "With a chart of yours"
  cp -r "$CHART" "$work/beside/"
  "$helm4" dependency build "$work/beside/mcp-server"
  "$helm4" install server "$work/beside/mcp-server" --namespace apps --wait --timeout 120s
  kubectl -n apps rollout status deployment/mcp-server --timeout=60s
}
proof "deployments/sidecar" "applied, pods admitted and rolled out" sidecars

# The commands of the page, as printed; those that ask the pods run elsewhere, for there is nobody in them here.
newcomer() {
  kubectl delete namespace mcp-system --wait --ignore-not-found
  mkdir "$work/page" "$work/bin" && ln -s "$helm4" "$work/bin/helm" && ln -s "$VERIFY_ROOT/helm" "$work/page/helm"
  deployments/verify/tools/page.py docs/install/helm.md "1. Secrets" "2. Values" "3. Install" >"$work/page/commands.sh"
  (cd "$work/page" && PATH="$work/bin:$PATH" bash -euxo pipefail commands.sh)
  test -n "$(kubectl -n mcp-system get secret mcp-proxy -o jsonpath='{.data.script-key}' | base64 -d)"
  test "$(kubectl -n mcp-system get secret mcp-proxy -o jsonpath='{.data.client-secret}' | base64 -d)" = PUT-THE-CLIENT-SECRET-HERE
  test ! -e "$work/page/mcp-secrets"
  kubectl -n mcp-system get service/mcp-oidc-proxy deployment/mcp-oidc-proxy
  "$helm4" uninstall mcp-oidc-proxy --namespace mcp-system --wait
}
proof "docs/install/helm.md" "its commands up to helm test" newcomer

manifests() {
  local overlay
  kubectl delete namespace mcp-system --wait --ignore-not-found
  for overlay in development staging production; do
    kubectl kustomize "deployments/kubernetes/overlays/$overlay" >"$work/$overlay.yaml"
    kubectl apply --filename "$work/$overlay.yaml" 2>&1 | tee "$work/applied"
    if grep -i '^warning' "$work/applied"; then return 1; fi
    local namespace
    namespace="$(sed -n 's/^  namespace: //p' "$work/$overlay.yaml" | sort -u)"
    test "$(wc -l <<<"$namespace")" = 1
    kubectl -n "$namespace" create secret generic mcp-proxy --from-literal=client-secret=a-secret-of-sixteen-bytes --from-literal=root-key=k
    kubectl -n "$namespace" rollout status deployment/mcp-oidc-proxy --timeout=120s
    kubectl delete namespace "$namespace" --wait
  done
  kubectl apply --filename deployments/kubernetes/guide.yaml
  kubectl -n mcp-system rollout status deployment/mcp-oidc-proxy --timeout=120s
  kubectl -n mcp-system rollout status deployment/mcp-redis --timeout=120s
}
proof "deployments/kubernetes" "overlays and guide.yaml rolled out" manifests

# The emergency page as printed: with Helm, then on the Deployment itself. What is closed and what is open again is what the
# server has.
denies() {
  local block=("$cache/venv-kubernetes-validate/bin/python" -B "$VERIFY_ROOT/deployments/verify/runbooks/deny.py" block)
  kubectl delete namespace mcp-system --wait --ignore-not-found
  kubectl create namespace mcp-system
  kubectl -n mcp-system create secret generic mcp-proxy --from-literal=client-secret=a-secret-of-sixteen-bytes --from-literal=root-key=k
  mkdir -p "$work/deny/bin" && ln -s "$helm4" "$work/deny/bin/helm" && ln -s "$VERIFY_ROOT/helm" "$work/deny/helm"
  cat >"$work/deny/values.yaml" <<'YAML'
config:
  public_url: https://mcp.example.com
  oidc: { issuer: "https://login.example.com/realms/corp", client_id: mcp-proxy }
  backends: [{ name: mcp, upstream: "http://mcp-server.default.svc:3000/mcp" }]
  routes: [{ path: /mcp, name: mcp, backend: mcp, allow: { any_user: true } }, { path: "/open/*", backend: mcp, public: true }]
  authorization_server: { default_route: mcp, clients: [{ client_id: agent, redirect_uris: ["https://agent.example.com/callback"], routes: [mcp] }] }
secrets:
  clientSecret: { existingSecret: { name: mcp-proxy, key: client-secret } }
  rootKeys: [{ existingSecret: { name: mcp-proxy, key: root-key } }]
sessionStorage: { redis: { standalone: { connectionUrl: "redis://redis.default.svc:6379/0" } } }
YAML
  cd "$work/deny"
  PATH="$work/deny/bin:$PATH"
  config() { kubectl -n mcp-system get configmap mcp-oidc-proxy -o jsonpath='{.data.config\.yaml}'; }
  pods() { kubectl -n mcp-system rollout status deployment/mcp-oidc-proxy --timeout=120s | tee /dev/stderr | grep 'successfully rolled out' >/dev/null; }
  arguments() { kubectl -n mcp-system get deployment mcp-oidc-proxy -o jsonpath='{.spec.template.spec.containers[0].args}'; }
  helm install mcp-oidc-proxy helm/mcp-oidc-proxy -n mcp-system -f values.yaml --wait --timeout 120s
  config >before
  grep -q 'default_route: mcp' before

  "${block[@]}" 'Deny all' 0 >all.sh && bash -eux all.sh
  "${block[@]}" 'Deny all: Kubernetes' 0 >helm.sh
  sed '/# open$/d' helm.sh >close.sh && bash -eux close.sh
  pods
  config >closed
  if grep -E 'path: "?/(mcp|open)|default_route: mcp|client_id: agent|any_user|public: true|mcp-server' closed; then return 1; fi
  grep -q 'path: /\*' closed
  sed -n '/# open$/p' helm.sh >open.sh && bash -eux open.sh
  pods
  config | diff before -

  arguments >before
  "${block[@]}" 'Deny all: Kubernetes' 1 >kubectl.sh
  sed '/# open$/d' kubectl.sh >close.sh && bash -eux close.sh
  pods
  test "$(arguments)" = '["--config","/etc/mcp-proxy/config.yaml","--config","/etc/mcp-proxy-incident/deny-all.yaml"]'
  sed -n '/# open$/p' kubectl.sh >open.sh && bash -eux open.sh
  pods
  test "$(arguments)" = "$(cat before)"
}
proof "docs/runbooks/emergency.md" "deny all with Helm and kubectl, and back" denies
