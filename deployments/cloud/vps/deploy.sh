#!/usr/bin/env bash
# Puts a new binary on a host by ssh, restarts the service, looks whether it is healthy, and puts the old one back when
# it is not. The service is installed once with systemd/install.sh. A restart refuses no connection where the socket
# unit listens, or where two processes stand behind the server in front.
#
#   deploy.sh USER@HOST BINARY
#
#   SERVICE      default mcp-oidc-proxy
#   LOCAL_READY  asked on the host itself; default http://127.0.0.1:9090/health/ready
#   CONFIG       default /etc/mcp-proxy/config.yaml
#   TARGET       default /usr/local/bin/mcp-oidc-proxy
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# = 2 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
host="$1" binary="$2" service="${SERVICE:-mcp-oidc-proxy}" ready="${LOCAL_READY:-http://127.0.0.1:9090/health/ready}"
config="${CONFIG:-/etc/mcp-proxy/config.yaml}" target="${TARGET:-/usr/local/bin/mcp-oidc-proxy}"
needs ssh sha256sum
[ -x "$binary" ] || die "$binary is no program"
sum="$(sha256sum "$binary" | cut -d' ' -f1)"

ssh "$host" "cat > /tmp/mcp-oidc-proxy.$sum" <"$binary"
# One script there, so that a connection that breaks leaves no half of it.
ssh "$host" "sudo bash -s -- '$sum' '$service' '$ready' '${HEALTH_TRIES:-5}' '${HEALTH_PAUSE:-10}' '$config' '$target'" <<'REMOTE'
set -euo pipefail
sum="$1" service="$2" ready="$3" tries="$4" pause="$5" config="$6" target="$7"
new="/tmp/mcp-oidc-proxy.$1"
trap 'rm -f "$new"' EXIT
echo "$sum  $new" | sha256sum --quiet --check
healthy() {
  for try in $(seq "$tries"); do
    systemctl is-active --quiet "$service" && curl -fs -o /dev/null --max-time 5 "$ready" && return 0
    [ "$try" = "$tries" ] || sleep "$pause"
  done
  return 1
}
# The new program has to accept the configuration before the old one is touched.
chmod 0755 "$new"
"$new" --config "$config" check-config
[ ! -e "$target" ] || cp -p "$target" "$target.before"
install -m 0755 "$new" "$target.new" && mv "$target.new" "$target"
systemctl restart "$service" || true
if healthy; then
  echo "$("$target" --version) serves"
  exit 0
fi
journalctl --unit "$service" --lines 20 --no-pager >&2 || true
[ -e "$target.before" ] || { echo "not healthy, and there is no version to go back to" >&2; exit 1; }
mv "$target.before" "$target"
systemctl restart "$service"
healthy || { echo "the version from before is not healthy either" >&2; exit 1; }
echo "not healthy; $("$target" --version) serves again" >&2
exit 1
REMOTE
