# systemd/: what can be said about units, scripts and configuration without starting anything.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

stage="$VERIFY_ROOT/target/verify/systemd"
rm -rf "$stage" && mkdir -p "$stage/units"
etc="$stage/root/etc/mcp-proxy"
installed="$stage/root/usr/local"
proxy="$(binary)"

# `! command` ends no function; this does.
refused() { if "$@"; then echo "this should have failed: $*"; return 1; fi; }

installs() {
  systemd/install.sh --root "$stage/root" --binary "$proxy" --sha256 "$(sha256sum "$proxy" | cut -d' ' -f1)"
  echo '# changed by hand' >>"$etc/config.yaml"
  systemd/install.sh upgrade --root "$stage/root" --binary "$proxy"
  grep -q 'changed by hand' "$etc/config.yaml"
  test "$(stat -c '%U %a' "$etc" "$etc/config.yaml" "$etc/environment" | tr '\n' ' ')" = "$(id -un) 750 $(id -un) 640 $(id -un) 600 "
  # A file that is not the one that was meant changes nothing.
  before="$(cd "$stage/root" && find . -type f -exec sha256sum {} + | sort)"
  echo 'not the program' >"$stage/other"
  refused systemd/install.sh upgrade --root "$stage/root" --binary "$stage/other" --sha256 "$(sha256sum "$proxy" | cut -d' ' -f1)"
  refused systemd/install.sh upgrade --root "$stage/root" --binary "$stage/other"
  test "$before" = "$(cd "$stage/root" && find . -type f -exec sha256sum {} + | sort)"
  cp -a "$stage/root" "$stage/gone"
  systemd/install.sh uninstall --purge --root "$stage/gone"
  test -z "$(find "$stage/gone" ! -type d)"
}
proof "systemd/install.sh" "run into a folder, twice, removed" installs

# The units as installed, with the program where it is now, so that its path is looked at too.
for unit in "$installed"/lib/systemd/system/*; do
  sed "s#/usr/local/bin/#$installed/bin/#g" "$unit" >"$stage/units/$(basename "$unit")"
done
cp "$stage/units/mcp-oidc-proxy@.service" "$stage/units/mcp-oidc-proxy@one.service"
export MANPATH="$installed/share/man:"

# systemd-analyze only warns of a misspelt directive, with exit code 0: whatever it prints is a failure.
silent() {
  local said
  said="$("$@" 2>&1)" || { printf '%s\n' "$said"; return 1; }
  printf '%s' "$said"
  test -z "$said"
}
# with DROP-IN...: the folder of a service that has just these.
with() {
  local folder="$stage/with/$1" drop_in
  rm -rf "$folder" && mkdir -p "$folder/mcp-oidc-proxy.service.d"
  cp "$stage"/units/mcp-oidc-proxy.* "$folder/"
  for drop_in; do
    # A program without a path is looked for where systemd looks; here it is elsewhere.
    sed "s#^ExecStart=mcp-oidc-proxy#ExecStart=$installed/bin/mcp-oidc-proxy#" "systemd/drop-ins/$drop_in.conf" >"$folder/mcp-oidc-proxy.service.d/$drop_in.conf"
  done
  printf '%s\n' "$folder/mcp-oidc-proxy.service"
}
exposed() { systemd-analyze security --offline=true --threshold="$1" "$2" | tail -n 1; test "${PIPESTATUS[0]}" = 0; }

template() {
  # The template differs from the service in names only.
  names='^#|^Description=|^ExecStart=|^EnvironmentFile=|^(State|Logs|Runtime)Directory=|^WorkingDirectory=|^SyslogIdentifier='
  diff <(grep -vE "$names" systemd/mcp-oidc-proxy.service) <(grep -vE "$names" systemd/mcp-oidc-proxy@.service)
}
proof "systemd/mcp-oidc-proxy@.service" "compared with the service" template

if have systemd-analyze; then
  version="$(systemd-analyze --version | awk 'NR == 1 { print $2 }')"
  for unit in mcp-oidc-proxy.service mcp-oidc-proxy@one.service mcp-oidc-proxy.socket mcp-oidc-proxy-https.socket; do
    proof "systemd/$unit" "systemd-analyze verify ($version)" silent systemd-analyze verify "$stage/units/$unit"
  done
  for unit in mcp-oidc-proxy.service mcp-oidc-proxy@one.service; do
    proof "systemd/$unit" "exposure at most 1.1" exposed 11 "$stage/units/$unit"
  done
  proof "systemd/drop-ins/port-443.conf" "exposure at most 1.4" exposed 14 "$(with port-443)"
  for drop_in in port-443 direct-tls credentials ip-allow-list limits journal; do
    proof "systemd/drop-ins/$drop_in.conf" "systemd-analyze verify ($version)" silent systemd-analyze verify "$(with "$drop_in")"
  done
  for drop_in in notify-reload:253 backoff:254; do
    if ((version >= ${drop_in#*:})); then
      proof "systemd/drop-ins/${drop_in%:*}.conf" "systemd-analyze verify ($version)" silent systemd-analyze verify "$(with "${drop_in%:*}")"
    else
      skip "systemd/drop-ins/${drop_in%:*}.conf" "systemd-analyze verify" "needs systemd ${drop_in#*:}, this is $version"
    fi
  done
else
  skip "systemd/*.service, *.socket" "systemd-analyze" "systemd-analyze is missing"
fi

if have systemd-sysusers systemd-tmpfiles; then
  users() {
    rm -rf "$stage/users" && mkdir -p "$stage/users/etc"
    systemd-sysusers --root "$stage/users" "$PWD/systemd/sysusers.conf"
    grep '^mcp-proxy:.*:/var/lib/mcp-proxy:/usr/sbin/nologin$' "$stage/users/etc/passwd"
    grep '^mcp-proxy:' "$stage/users/etc/group"
  }
  folders() {
    mkdir -p "$stage/users/etc/mcp-proxy"
    cp systemd/config.yaml systemd/environment "$stage/users/etc/mcp-proxy/"
    silent systemd-tmpfiles --root "$stage/users" --create "$PWD/systemd/tmpfiles.conf"
    group="$(awk -F: '$1 == "mcp-proxy" { print $3 }' "$stage/users/etc/group")"
    test "$(cd "$stage/users/etc/mcp-proxy" && stat -c '%u:%g:%a' . config.yaml environment | tr '\n' ' ')" = "0:$group:750 0:$group:640 0:0:600 "
  }
  if [ "$(id -u)" = 0 ]; then
    proof "systemd/sysusers.conf" "systemd-sysusers into a folder" users
    proof "systemd/tmpfiles.conf" "systemd-tmpfiles into a folder" folders
  else
    skip "systemd/sysusers.conf, tmpfiles.conf" "into a folder" "not root"
  fi
else
  skip "systemd/sysusers.conf, tmpfiles.conf" "into a folder" "systemd-sysusers is missing"
fi

configuration() {
  # As shipped, but for the secrets, which the installation and the operator put there.
  mkdir -p "$stage/config"
  "$proxy" keygen >"$stage/config/root-key"
  echo 'a-client-secret-for-this-check' >"$stage/config/oidc-client-secret"
  sed "s#/etc/mcp-proxy/#$stage/config/#" systemd/config.yaml >"$stage/config/config.yaml"
  "$proxy" --config "$stage/config/config.yaml" check-config
}
proof "systemd/config.yaml" "check-config" configuration

if need_deb logrotate logrotate; then
  rotation() {
    # The user is made by the installation; here it is whoever runs this.
    sed "s/su mcp-proxy mcp-proxy/su $(id -un) $(id -gn)/" systemd/logrotate.conf >"$stage/logrotate.conf"
    said="$(logrotate --debug --state "$stage/logrotate.state" "$stage/logrotate.conf" 2>&1)"
    printf '%s\n' "$said"
    refused grep -i 'error' <<<"$said"
    grep -q 'rotating pattern: /var/log/mcp-oidc-proxy/audit.jsonl' <<<"$said"
    refused grep '^ *copytruncate' systemd/logrotate.conf
  }
  proof "systemd/logrotate.conf" "logrotate -d" rotation
else
  skip "systemd/logrotate.conf" "logrotate -d" "logrotate is missing"
fi
