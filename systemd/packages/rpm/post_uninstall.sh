# shellcheck shell=sh
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload || :
  # More than 0: another version is there already.
  if [ "$1" != 0 ]; then systemctl try-restart mcp-oidc-proxy.service 'mcp-oidc-proxy@*.service' || :; fi
fi
