# shellcheck shell=sh
if [ "$1" = 0 ] && [ -d /run/systemd/system ]; then
  # Sockets first, or one more connection would start the service again.
  systemctl disable --now mcp-oidc-proxy.socket mcp-oidc-proxy-https.socket || :
  systemctl disable --now mcp-oidc-proxy.service || :
  systemctl stop 'mcp-oidc-proxy@*.service' || :
fi
