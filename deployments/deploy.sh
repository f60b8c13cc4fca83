#!/usr/bin/env bash
# The deploy stage: puts a version where it belongs, waits until it serves, asks the public address, and puts the version
# before back when anything of that fails. Exit code 0: the new version serves. 1: the old one does. 3: neither does.
#
#   deploy.sh helm    --version V [--release NAME] [--namespace NS] [--values FILE]… [--chart CHART] [--image IMAGE] --url URL
#   deploy.sh compose --version V [--file FILE] [--image IMAGE] --url URL
#   deploy.sh systemd --binary FILE [--service NAME] --url URL                        (on the host itself, as root)
#
#   compose keeps the image that serves as PROXY_IMAGE in the .env beside the file, so that the next `up` keeps it too.
#   systemd replaces the program that the unit starts, wherever that is, after the new one accepted the configuration
#   with the unit's own user, sandbox, variables and credentials.
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
binary='' service=mcp-oidc-proxy urls=()
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
  if [ -n "$before" ]; then set+=(--reset-then-reuse-values); else set+=(--create-namespace); fi
  if helm upgrade "$release" "${chart:-$here/../helm/mcp-oidc-proxy}" --install --namespace "$namespace" \
    ${values[@]+"${values[@]}"} "${set[@]}" --wait --timeout "${TIMEOUT:-600}s" && all_healthy; then
    say "$version serves"
    return
  fi
  [ -n "$before" ] || { say "the first installation is not healthy"; exit 3; }
  went_back helm rollback "$release" "$before" --namespace "$namespace" --wait --timeout "${TIMEOUT:-600}s"
}

# keeps FILE NAME VALUE: writes NAME=VALUE into an environment file by one rename; its mode and all other lines stay.
keeps() {
  local file
  file="$(readlink -m "$1")"
  if [ -e "$file" ]; then cp -p "$file" "$file.new"; else (umask 077 && : >"$file.new" && : >>"$file"); fi
  awk -v name="$2" -v value="$3" '
    index($0, name "=") == 1 { if (!done) print name "=" value; done = 1; next }
    { print }
    END { if (!done) print name "=" value }' "$file" >"$file.new"
  mv "$file.new" "$file"
}

by_compose() {
  needs docker
  [ -n "$version" ] || die "--version is missing"
  local repository="${image:-ghcr.io/mcp-oidc-proxy/mcp-oidc-proxy}" before kept
  kept="$(dirname "$file")/.env"
  [ -w "$(dirname "$(readlink -m "$kept")")" ] || die "$kept cannot be written, and has to name the new image; nothing was changed"
  before="$(docker compose --file "$file" images --format json proxy 2>/dev/null |
    python3 -c 'import json, sys; all = json.load(sys.stdin); print(all[0]["Repository"] + ":" + all[0]["Tag"] if all else "")' || true)"
  say "from ${before:-nothing} to $repository:$version"
  up() { PROXY_IMAGE="$1" docker compose --file "$file" up --detach --wait --no-deps --no-build proxy; }
  PROXY_IMAGE="$repository:$version" docker compose --file "$file" pull proxy || die "the image cannot be had; nothing was changed"
  if up "$repository:$version" && all_healthy; then
    keeps "$kept" PROXY_IMAGE "$repository:$version"
    say "$version serves, and $kept names it"
    return
  fi
  [ -n "$before" ] || { say "the first start is not healthy"; exit 3; }
  went_back up "$before"
}

# accepts PROGRAM ARGUMENTS: it accepts the configuration that the service would give it. Asked in a unit that is the
# service's own text with another command: only there are its variables and credentials, and only there does a file count
# as readable that the service's user may read.
accepts() {
  local folder="${UNIT_FOLDER:-/run/systemd/system}" name="${service%.service}" unit said line command=() code=0
  unit="${name%%@*}-check"
  case "$name" in *@*) unit="$unit@${name#*@}" ;; esac
  said="$(mktemp)"
  # What the service has around its command is taken out. RuntimeDirectory too: the end of this unit would remove it.
  line="${1//%/%%} ${2//%/%%} check-config"
  if { systemctl cat "$service" && cat <<UNIT; } >"$folder/$unit.service" && systemctl daemon-reload; then

[Unit]
OnFailure=
OnSuccess=
[Service]
Type=oneshot
ExecCondition=
ExecStartPre=
ExecStart=
ExecStart=${line//\$/\$\$}
ExecStartPost=
ExecReload=
ExecStop=
ExecStopPost=
Restart=no
RemainAfterExit=no
WatchdogSec=0
SuccessExitStatus=
RuntimeDirectory=
Sockets=
StandardOutput=file:$said
StandardError=inherit
UNIT
    systemctl start "$unit.service" || code=$?
  else
    say "systemd cannot be asked to try it; the secrets are not looked at"
    read -ra command <<<"$2"
    "$1" ${command[@]+"${command[@]}"} check-config --no-secrets >"$said" 2>&1 || code=$?
  fi
  cat "$said" >&2
  [ "$code" = 0 ] || systemctl reset-failed "$unit.service" 2>/dev/null || true
  rm -f "$said" "$folder/$unit.service"
  systemctl daemon-reload || true
  return "$code"
}

by_systemd() {
  needs systemctl install cmp
  [ -x "$binary" ] || die "--binary names no program"
  # { path=/usr/bin/mcp-oidc-proxy ; argv[]=/usr/bin/mcp-oidc-proxy --config … ; ignore_errors=no ; … }
  local started place arguments before=''
  started="$(systemctl show --property ExecStart --value "$service")"
  place="$(sed -n 's/^{ path=\([^;]*\) ; .*/\1/p' <<<"$started")"
  arguments="$(sed -n 's/^{ path=[^;]* ; argv\[\]=[^ ;]* \([^;]*\) ; .*/\1/p' <<<"$started")"
  [ -n "$place" ] || die "there is no service $service that starts a program"
  # Beside the old one, where the service's sandbox shows it. Nothing is touched before it was tried.
  install -m 0755 "$binary" "$place.new"
  if ! accepts "$place.new" "$arguments"; then
    rm -f "$place.new"
    die "the new version does not accept the configuration; nothing was changed"
  fi
  rm -f "$place.new"
  if [ -e "$place" ]; then
    before="$place.before"
    cp -p "$place" "$before"
  fi
  # put FILE: it is in its place, and it is what the service runs: not what the file was before, and nothing else.
  put() {
    install -m 0755 "$1" "$place.new" && mv "$place.new" "$place" && systemctl restart "$service" &&
      systemctl is-active --quiet "$service" || return 1
    local pid
    pid="$(systemctl show --property MainPID --value "$service")"
    if [ "${pid:-0}" -gt 1 ] && cmp -s "/proc/$pid/exe" "$1"; then return 0; fi
    say "process ${pid:-0} of $service is not $1: was $place not what it starts?"
    return 1
  }
  if put "$binary" && all_healthy; then
    say "$("$place" --version) serves from $place"
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
