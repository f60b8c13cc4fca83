#!/usr/bin/env bash
# Starts Keycloak with the realm `corp` in memory, on a free port of 127.0.0.1. Prints one JSON line
# {"issuer", "admin", "pid"} when it serves, its log on standard error, and ends when its standard input closes.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
home="$(readlink -f "$here/../.cache/keycloak")"
work="$(mktemp -d)"
# The database is in memory; only the realm's file is shared between runs, put there in one step.
mkdir -p "$home/data/import"
cp "$here/corp-realm.json" "$home/data/import/.corp-realm.json.$$"
mv "$home/data/import/.corp-realm.json.$$" "$home/data/import/corp-realm.json"

export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin
export JAVA_OPTS="-Xms64m -Xmx512m -XX:MetaspaceSize=96M -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true"
exec 3<&0
mkfifo "$work/log"
# Keycloak's own script starts Java as a child, so the whole process group is ended, not just the script.
set -m
"$home/bin/kc.sh" start --optimized --import-realm --http-enabled=true --http-host=127.0.0.1 --http-port=0 \
  --hostname-strict=false --cache=local <"/dev/null" >"$work/log" 2>&1 &
server=$!
set +m
trap 'kill -- "-$server" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 0' TERM INT
(
  while IFS= read -r line; do
    printf '%s\n' "$line" >&2
    if [[ "$line" =~ Listening\ on:\ (http://127\.0\.0\.1:[0-9]+) ]]; then
      base="${BASH_REMATCH[1]}"
      printf '{"issuer":"%s/realms/corp","admin":"%s","pid":%d}\n' "$base" "$base" "$server"
    fi
  done <"$work/log"
  # The server is gone: so shall this script be, that nobody waits for the line above.
  kill $$ 2>/dev/null || true
) &
cat <&3 >/dev/null
