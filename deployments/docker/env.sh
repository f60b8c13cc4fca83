#!/bin/sh
# Makes .env beside this file from ../.env.example, with fresh random secrets. What .env says already stays.
set -eu
cd "$(dirname "$0")"
umask 077
[ -f .env ] || cp ../.env.example .env
chmod 0600 .env

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
# 32 bytes in base64, as `mcp-oidc-proxy keygen` prints them.
key() { head -c 32 /dev/urandom | base64 | tr -d '\n'; }

# set_once NAME VALUE: only where it is empty or missing.
set_once() {
  if grep -q "^$1=..*" .env; then return; fi
  awk -v name="$1" -v value="$2" '
    !done && index($0, name "=") == 1 { $0 = name "=" value; done = 1 }
    { print }
    END { if (!done) print name "=" value }' .env >.env.new
  mv .env.new .env
  echo "new: $1"
}
set_once OIDC_CLIENT_SECRET "$(random)"
set_once MCP_ENCRYPTION_KEY "$(key)"
set_once MCP_API_KEY "$(random)"
set_once REDIS_PASSWORD "$(random)"
set_once KEYCLOAK_ADMIN_PASSWORD "$(random)"
echo "deployments/docker/.env is complete"
