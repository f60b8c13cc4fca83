#!/usr/bin/env bash
# The deploy stage: puts a version where it belongs, waits until it serves, asks the public address, and puts the version
# before back when anything of that fails. Exit code 0: the new version serves. 1: the old one does. 3: neither does.
#
#   deploy.sh helm    --version V [--release NAME] [--namespace NS] [--values FILE]… [--chart CHART] [--image IMAGE] --url URL
#   deploy.sh compose --version V [--file FILE] [--image IMAGE] --url URL
#   deploy.sh systemd --binary FILE [--service NAME] [--target FILE] --url URL        (on the host itself, as root)
#
#   --url URL       origin that is asked at /ready; give it twice to ask two
#   HEALTH_TRIES    how often it is asked (default 5), HEALTH_PAUSE seconds apart (default 10)
#   HEALTH_CA       CA of a private certificate
#   TIMEOUT         seconds that helm may wait for pods (default 600: start, and drain of the old ones)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/cloud/lib.sh"
usage() { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 1 ] || usage
target="$1"
shift
version='' release=mcp-oidc-proxy namespace=mcp-system values=() chart='' image='' file="$here/docker/docker-compose.yml"
binary='' service=mcp-oidc-proxy place=/usr/local/bin/mcp-oidc-proxy urls=()
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --version) version="$2" ;;
    --release) release="$2" ;;
    --namespace) namespace="$2" ;;
    --values) values+=(--values "$2") ;;
    --chart) chart="$2" ;;
    --image) image="$2" ;;
    --file) file="$2" ;;
    --binary) binary="$2" ;;
    --service) service="$2" ;;
    --target) place="$2" ;;
    --url) urls+=("$2") ;;
    *) usage ;;
  esac
  shift 2
done
needs curl
[ ${#urls[@]} -gt 0 ] || die "name the address to ask with --url"
all_healthy() { local url; for url in "${urls[@]}"; do healthy "$url" || return 1; done; }
# went_back COMMAND…: ends the script by whether the version before serves.
went_back() {
  if "$@" && all_healthy; then die "the new version was not healthy; the one before serves again"; fi
  say "the new version was not healthy, and going back did not help: look at what both need (provider, Redis, DNS, certificate)"
  exit 3
}

by_helm() {
  needs helm
  [ -n "$version" ] || die "--version is missing"
  local before set=(--set-string "image.tag=$version")
  [ -z "$image" ] || set+=(--set-string "image.repository=$image")
  before="$(helm history "$release" --namespace "$namespace" --max 20 --output json 2>/dev/null |
    python3 -c 'import json, sys; print(max((at["revision"] for at in json.load(sys.stdin) if at["status"] == "deployed"), default=""))' || true)"
  say "from revision ${before:-none} to $version"
  # Its own values stay, so that a deployment changes the version and what --values says.
  if helm upgrade "$release" "${chart:-$here/../helm/mcp-oidc-proxy}" --install --namespace "$namespace" \
    ${before:+--reset-then-reuse-values} ${values[@]+"${values[@]}"} "${set[@]}" --wait --timeout "${TIMEOUT:-600}s" && all_healthy; then
    say "$version serves"
    return
  fi
  [ -n "$before" ] || { say "the first installation is not healthy"; exit 3; }
  went_back helm rollback "$release" "$before" --namespace "$namespace" --wait --timeout "${TIMEOUT:-600}s"
}

by_compose() {
  needs docker
  [ -n "$version" ] || die "--version is missing"
  local repository="${image:-ghcr.io/mcp-oidc-proxy/mcp-oidc-proxy}" before
  before="$(docker compose --file "$file" images --format json proxy 2>/dev/null |
    python3 -c 'import json, sys; all = json.load(sys.stdin); print(all[0]["Repository"] + ":" + all[0]["Tag"] if all else "")' || true)"
  say "from ${before:-nothing} to $repository:$version"
  up() { PROXY_IMAGE="$1" docker compose --file "$file" up --detach --wait --no-deps --no-build proxy; }
  PROXY_IMAGE="$repository:$version" docker compose --file "$file" pull proxy || die "the image cannot be had; nothing was changed"
  if up "$repository:$version" && all_healthy; then
    say "$version serves"
    return
  fi
  [ -n "$before" ] || { say "the first start is not healthy"; exit 3; }
  went_back up "$before"
}

by_systemd() {
  needs systemctl install
  [ -x "$binary" ] || die "--binary names no program"
  # The new program has to accept the configuration before the old one is touched.
  if [ -f "${CONFIG:-/etc/mcp-proxy/config.yaml}" ]; then
    "$binary" --config "${CONFIG:-/etc/mcp-proxy/config.yaml}" check-config || die "the new version does not accept the configuration; nothing was changed"
  fi
  local before=''
  if [ -e "$place" ]; then
    before="$place.before"
    cp -p "$place" "$before"
  fi
  put() { install -m 0755 "$1" "$place.new" && mv "$place.new" "$place" && systemctl restart "$service"; }
  if put "$binary" && systemctl is-active --quiet "$service" && all_healthy; then
    say "$("$place" --version) serves"
    return
  fi
  [ -n "$before" ] || { say "the first start is not healthy; see: journalctl -u $service"; exit 3; }
  went_back put "$before"
}

case "$target" in
  helm) by_helm ;;
  compose) by_compose ;;
  systemd) by_systemd ;;
  *) usage ;;
esac
