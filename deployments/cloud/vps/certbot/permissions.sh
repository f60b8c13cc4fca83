#!/usr/bin/env bash
# Lets the service read a certificate of certbot's, now and after every renewal. Run once as root, and leave it as a
# deploy hook, so that what certbot creates anew gets the same rights:
#   install -m 0755 permissions.sh /etc/letsencrypt/renewal-hooks/deploy/mcp-oidc-proxy
#   permissions.sh mcp.example.com
# The proxy sees the new files by itself; no reload is needed.
#
#   LETSENCRYPT_DIR   default /etc/letsencrypt
#   MCP_PROXY_GROUP   default mcp-proxy
set -euo pipefail
root="${LETSENCRYPT_DIR:-/etc/letsencrypt}"
group="${MCP_PROXY_GROUP:-mcp-proxy}"

# As a hook certbot names the lineage; by hand the domain is the argument.
if [ -n "${RENEWED_LINEAGE:-}" ]; then
  domain="$(basename "$RENEWED_LINEAGE")"
else
  domain="${1:?usage: permissions.sh DOMAIN}"
fi
[ -d "$root/live/$domain" ] || { echo "$root/live/$domain is not there; does \`certbot certificates\` show this name?" >&2; exit 1; }

# Through the two folders to this domain, and no listing of the others.
chmod 0711 "$root" "$root/live" "$root/archive"
chgrp "$group" "$root/live/$domain" "$root/archive/$domain"
chmod 0750 "$root/live/$domain" "$root/archive/$domain"
# Owned by root: the service may read the key and not change it.
chgrp "$group" "$root/archive/$domain"/privkey*.pem
chmod 0640 "$root/archive/$domain"/privkey*.pem
