# The .deb and .rpm of Cargo.toml's metadata, with the program that is to be tried; 15-systemd-boot.sh installs them.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

if quick; then skip ".deb, .rpm" "built" "not in the quick run: their tools take minutes to compile"; exit 0; fi
packages="$cache/packages"
rm -rf "$packages" && mkdir -p "$packages"

# need_cargo COMMAND CRATE VERSION: has the command, built from its source once, without optimizations, which would take most of
# the time.
need_cargo() { have "$1" || locked cargo install --quiet --debug --locked --root "$cache" --version "$3" "$2"; }
tools() {
  need_cargo cargo-deb cargo-deb '~3.8'
  need_cargo cargo-generate-rpm cargo-generate-rpm '~0.21'
}
proof "packaging tools" "cargo install" tools
have cargo-deb cargo-generate-rpm || exit 0

proof ".deb, .rpm" "built with cargo-deb, cargo-generate-rpm" systemd/packages/build.sh --fast --binary "$(binary)" --out "$packages"

deb() { find "$packages" -name '*.deb'; }
rpm_file() { find "$packages" -name '*.rpm'; }
# What must be in both, and how: mode and path.
wanted='-rwxr-xr-x /usr/bin/mcp-oidc-proxy
-rw-r--r-- /usr/lib/systemd/system/mcp-oidc-proxy.service
-rw-r--r-- /usr/lib/systemd/system/mcp-oidc-proxy@.service
-rw-r--r-- /usr/lib/systemd/system/mcp-oidc-proxy.socket
-rw-r--r-- /usr/lib/systemd/system/mcp-oidc-proxy-https.socket
-rw-r--r-- /usr/lib/sysusers.d/mcp-oidc-proxy.conf
-rw-r--r-- /usr/lib/tmpfiles.d/mcp-oidc-proxy.conf
-rw-r----- /etc/mcp-proxy/config.yaml
-rw------- /etc/mcp-proxy/environment
-rw-r--r-- /etc/logrotate.d/mcp-oidc-proxy
-rw-r--r-- /usr/share/doc/mcp-oidc-proxy/reference.yaml
-rw-r--r-- /usr/share/doc/mcp-oidc-proxy/drop-ins/port-443.conf
-rw-r--r-- /usr/share/doc/mcp-oidc-proxy/drop-ins/direct-tls.conf'
contains() {
  local line
  while read -r line; do grep -qxF -- "$line" <<<"$1" || { echo "missing: $line"; printf '%s\n' "$1"; return 1; }; done <<<"$wanted"
}
deb_contents() {
  contains "$(dpkg-deb --contents "$(deb)" | awk '{ print $1, substr($6, 2) }')"
  test "$(dpkg-deb --info "$(deb)" conffiles | sort | tr '\n' ' ')" = \
    "/etc/logrotate.d/mcp-oidc-proxy /etc/mcp-proxy/config.yaml /etc/mcp-proxy/environment "
  dpkg-deb --field "$(deb)" Depends | grep 'libc6 (>= .*systemd (>= 247)'
}
rpm_contents() {
  local files
  files="$(rpm -qp --queryformat '[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]' "$(rpm_file)")"
  contains "$(awk '{ print $1, $3 }' <<<"$files")"
  test "$(rpm -qpc "$(rpm_file)" | sort | tr '\n' ' ')" = "/etc/logrotate.d/mcp-oidc-proxy /etc/mcp-proxy/config.yaml /etc/mcp-proxy/environment "
  grep ' root:mcp-proxy /etc/mcp-proxy/config.yaml$' <<<"$files"
  rpm -qp --requires "$(rpm_file)" | grep '^libc.so.6'
  for script in preinstall postinstall preuninstall postuninstall; do
    rpm -qp --scripts "$(rpm_file)" | grep "^$script scriptlet" >/dev/null
  done
}
proof ".deb" "contents, modes, conffiles" deb_contents
if need_deb rpm rpm; then proof ".rpm" "contents, modes, config files, scripts" rpm_contents
else skip ".rpm" "contents" "rpm is missing"; fi
if need_deb lintian lintian; then
  proof ".deb" "lintian: no error, no warning" lintian --fail-on error,warning --no-tag-display-limit "$(deb)"
else
  skip ".deb" "lintian" "lintian is missing"
fi
