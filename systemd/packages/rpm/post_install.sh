# shellcheck shell=sh
# As tmpfiles.conf has it at each boot; here there may be no /proc, as when an image is made.
chgrp mcp-proxy /etc/mcp-proxy && chmod 0750 /etc/mcp-proxy || :
if [ ! -e /etc/mcp-proxy/root-key ]; then
  (umask 077 && /usr/bin/mcp-oidc-proxy keygen >/etc/mcp-proxy/root-key.new) &&
    chgrp mcp-proxy /etc/mcp-proxy/root-key.new && chmod 0640 /etc/mcp-proxy/root-key.new &&
    mv /etc/mcp-proxy/root-key.new /etc/mcp-proxy/root-key
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
