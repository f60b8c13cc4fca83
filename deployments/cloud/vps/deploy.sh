#!/usr/bin/env bash
# Puts a new binary on a host by ssh and lets deployments/deploy.sh deploy it there: it asks the new program whether it
# accepts the configuration, with the user, variables and credentials of the unit, restarts the service, looks whether it is
# healthy, and puts the old program back when it is not. The service is installed once with systemd/install.sh. A restart
# refuses no connection where the socket unit listens, or where two processes stand behind the server in front.
#
#   deploy.sh USER@HOST BINARY
#
#   SERVICE      default mcp-oidc-proxy
#   LOCAL_READY  asked on the host itself; default http://127.0.0.1:9090/health/ready
#   HEALTH_TRIES, HEALTH_PAUSE, HEALTH_CA   as for deployments/deploy.sh
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# = 2 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
host="$1" binary="$2" ready="${LOCAL_READY:-http://127.0.0.1:9090/health/ready}"
needs ssh sha256sum tar
[ -x "$binary" ] || die "$binary is no program"
[[ "$ready" == */ready ]] || die "LOCAL_READY has to end with /ready: $ready"

# The program, and the scripts that deploy it there.
sent="$(mktemp -d)"
trap 'rm -rf "$sent"' EXIT
mkdir -p "$sent/content/cloud"
cp "$binary" "$sent/content/mcp-oidc-proxy"
cp "$here/../../deploy.sh" "$sent/content/"
cp "$here/../lib.sh" "$sent/content/cloud/"
tar -C "$sent/content" -czf "$sent/archive" .
sum="$(sha256sum "$sent/archive" | cut -d' ' -f1)"

# Where nobody else on the host can put or change anything.
# shellcheck disable=SC2016 # there, not here
folder="$(ssh "$host" 'folder="$(mktemp -d)" && cat >"$folder/archive" && echo "$folder"' <"$sent/archive")"
[[ "$folder" =~ ^/[A-Za-z0-9._/-]+$ ]] || die "nothing could be put on $host: '$folder'"
trap 'rm -rf "$sent"; ssh "$host" "rm -rf $folder" || true' EXIT
there() {
  printf "'%s' " "$sum" "$folder/archive" "${SERVICE:-mcp-oidc-proxy}" "${ready%/ready}" "${HEALTH_TRIES:-5}" "${HEALTH_PAUSE:-10}" "${HEALTH_CA:-}"
}
# One script there, so that a connection that breaks leaves no half of it.
ssh "$host" "sudo bash -s -- $(there)" <<'REMOTE'
set -euo pipefail
sum="$1" archive="$2" service="$3" url="$4"
export HEALTH_TRIES="$5" HEALTH_PAUSE="$6" HEALTH_CA="$7"
# A copy of root's own first, in a folder that only root can write to: what the sum is taken of is then what runs.
own="$(mktemp -d /run/mcp-oidc-proxy-deploy.XXXXXX)"
trap 'rm -rf "$own"' EXIT
cat "$archive" >"$own/archive"
echo "$sum  $own/archive" | sha256sum --quiet --check
tar -C "$own" --no-same-owner -xzf "$own/archive"
bash "$own/deploy.sh" systemd --binary "$own/mcp-oidc-proxy" --service "$service" --url "$url" </dev/null
REMOTE
