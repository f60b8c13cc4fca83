# shellcheck shell=sh
getent group mcp-proxy >/dev/null || groupadd --system mcp-proxy
getent passwd mcp-proxy >/dev/null || useradd --system --gid mcp-proxy --home-dir /var/lib/mcp-proxy --no-create-home \
  --shell /usr/sbin/nologin --comment 'OIDC proxy in front of MCP servers' mcp-proxy
