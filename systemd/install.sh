#!/bin/sh
# Installs, upgrades or removes mcp-oidc-proxy as a systemd service. Run it as root; run it again as often as you like.
#
#   install.sh [install] [--binary FILE | --package FILE.deb|FILE.rpm] [--sha256 HEX|FILE] [--no-start]
#   install.sh upgrade     the same, for what is installed already: restarts it, and goes back if the new one does not come up
#   install.sh uninstall [--purge]     --purge: configuration, secrets, data, logs and user too
#   install.sh status
#
#   --binary FILE     the program; default: mcp-oidc-proxy beside this script or above it, or in target/dist, target/release
#   --package FILE    install this package with the system's own tools instead
#   --sha256 X        what the file must have: the sum, or a file that `sha256sum` made
#   --prefix DIR      default /usr/local
#   --root DIR        put files below DIR only, for making images: no user is made, nothing started
#   --no-start        neither enable nor start it
#
# Never overwritten: anything in /etc/mcp-proxy, and drop-ins of units. Always written anew: program, units, documentation.
set -eu

name=mcp-oidc-proxy
user=mcp-proxy
prefix=/usr/local
root=''
binary=''
package=''
sum=''
start=1
purge=''
here=$(cd "$(dirname "$0")" && pwd)

say() { printf '%s\n' "$*"; }
fail() { printf '%s: %s\n' "$name: install.sh" "$*" >&2; exit 1; }
usage() { sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"; }
have() { command -v "$1" >/dev/null 2>&1; }
# systemd runs here, and it is this system that is meant.
live() { [ -z "$root" ] && [ -d /run/systemd/system ]; }
need_value() { [ "$1" -ge 2 ] || { say "$2 needs a value" >&2; exit 2; }; }

action=install
case "${1:-}" in
  install | upgrade | uninstall | status) action=$1; shift ;;
esac
while [ $# -gt 0 ]; do
  case "$1" in
    --binary) need_value $# "$1"; binary=$2; shift ;;
    --package) need_value $# "$1"; package=$2; shift ;;
    --sha256) need_value $# "$1"; sum=$2; shift ;;
    --prefix) need_value $# "$1"; prefix=${2%/}; shift ;;
    --root) need_value $# "$1"; root=${2%/}; shift ;;
    --no-start) start='' ;;
    --purge) purge=1 ;;
    -h | --help) usage; exit 0 ;;
    *) say "unknown argument: $1" >&2; usage >&2; exit 2 ;;
  esac
  shift
done
[ -z "$binary" ] || [ -z "$package" ] || fail "give --binary or --package, not both"
case "$prefix" in /*) ;; *) fail "--prefix $prefix is not absolute" ;; esac

lib=$prefix/lib
share=$prefix/share
program=$prefix/bin/$name
etc=$root/etc/mcp-proxy
rotation=$root/etc/logrotate.d/$name
units="$name.service $name@.service $name.socket $name-https.socket"

# The package that the program belongs to, if one does.
owner() {
  [ -z "$root" ] || return 0
  if have dpkg-query && dpkg-query -W -f '${db:Status-Abbrev}' $name 2>/dev/null | grep -q '^.i'; then echo deb
  elif have rpm && rpm -q $name >/dev/null 2>&1; then echo rpm
  fi
}

verify_sum() {
  [ -n "$sum" ] || return 0
  if [ -f "$sum" ]; then
    # The line of this file; or the only one.
    wanted=$(awk -v name="$(basename "$1")" 'NF == 1 || $2 == name || $2 == "*" name { print $1; exit }' "$sum")
    [ -n "$wanted" ] || fail "$sum has no line for $(basename "$1")"
  else
    wanted=$sum
  fi
  wanted=$(printf '%s' "$wanted" | tr 'A-F' 'a-f')
  got=$(sha256sum "$1" | cut -d' ' -f1)
  [ "$got" = "$wanted" ] || fail "$1 has the SHA-256 $got, not $wanted: it is not the file that was meant; nothing was changed"
  say "checksum of $(basename "$1") is right"
}

# put MODE SOURCE TARGET: in one step, so that a running program and a reader of the file never see half of it.
put() {
  mkdir -p "$(dirname "$3")"
  install -m "$1" "$2" "$3.new.$$"
  mv -f "$3.new.$$" "$3"
}

# put_unit SOURCE TARGET: with the program where it is.
put_unit() {
  mkdir -p "$(dirname "$2")"
  sed "s#/usr/bin/$name#$program#g" "$1" >"$2.new.$$"
  chmod 0644 "$2.new.$$"
  mv -f "$2.new.$$" "$2"
}

# What was in the prefix, to be put back when what takes its place does not come up.
keep_old() {
  old=''
  kept=$(mktemp -d)
  trap 'rm -rf "$kept"' EXIT
  [ ! -f "$root$program" ] || { cp -p "$root$program" "$kept/program"; old=1; }
  for unit in $units; do
    [ ! -f "$root$lib/systemd/system/$unit" ] || cp -p "$root$lib/systemd/system/$unit" "$kept/$unit"
  done
}

put_old_back() {
  put 0755 "$kept/program" "$root$program"
  for unit in $units; do
    if [ -f "$kept/$unit" ]; then put 0644 "$kept/$unit" "$root$lib/systemd/system/$unit"
    else rm -f "$root$lib/systemd/system/$unit"; fi
  done
  systemctl daemon-reload
}

find_binary() {
  if [ -z "$binary" ]; then
    for candidate in "$here/$name" "$here/../$name" "$here/../$name-linux-amd64" "$here/../target/dist/$name" "$here/../target/release/$name"; do
      [ ! -f "$candidate" ] || { binary=$candidate; break; }
    done
  fi
  [ -n "$binary" ] || fail "there is no program: give --binary FILE, or build it (make build)"
  [ -f "$binary" ] || fail "$binary is no file"
}

make_user() {
  if have systemd-sysusers; then
    systemd-sysusers "$lib/sysusers.d/$name.conf"
  else
    getent group $user >/dev/null || groupadd --system $user
    getent passwd $user >/dev/null || useradd --system --gid $user --home-dir /var/lib/mcp-proxy --no-create-home \
      --shell /usr/sbin/nologin --comment 'OIDC proxy in front of MCP servers' $user
  fi
  getent passwd $user >/dev/null || fail "the user $user could not be made"
}

# The files of the configuration that are not there yet. Root owns them; the service's group may read.
make_configuration() {
  mkdir -p "$etc"
  chmod 0750 "$etc"
  fresh=''
  if [ ! -e "$etc/config.yaml" ]; then
    put 0640 "$here/config.yaml" "$etc/config.yaml"
    fresh=1
  fi
  [ -e "$etc/environment" ] || put 0600 "$here/environment" "$etc/environment"
  # In an image the key would be the same on all machines that are made from it.
  if [ -z "$root" ] && [ ! -e "$etc/root-key" ]; then
    (umask 077; "$program" keygen >"$etc/root-key.new.$$")
    chmod 0640 "$etc/root-key.new.$$"
    mv "$etc/root-key.new.$$" "$etc/root-key"
  fi
  [ -n "$root" ] || chgrp $user "$etc" "$etc/config.yaml" "$etc/root-key"
}

# Those of the services and sockets that run now, instances too.
running() {
  live || return 0
  systemctl list-units --plain --no-legend --state=active,activating,reloading "$name.service" "$name@*.service" | awk '{ print $1 }'
}

healthy() { systemctl is-active --quiet "$1"; }

# Starts again what runs; says which did not come up.
restart_running() {
  failed=''
  for unit in $1; do
    systemctl restart "$unit" 2>/dev/null && healthy "$unit" || failed="$failed $unit"
  done
  [ -z "$failed" ]
}

next_steps() {
  cat <<TEXT

Next:
  1. edit /etc/mcp-proxy/config.yaml (four marked values)
  2. put the client's secret where it is looked for:
       install -m 0640 -g $user /dev/stdin /etc/mcp-proxy/oidc-client-secret    (paste, then Ctrl-D)
  3. $1 check-config --online
     with secrets from /etc/mcp-proxy/environment or from credentials (drop-in credentials.conf), which only the service is given:
       systemd-run --wait --pipe --quiet --property=User=$user --property=EnvironmentFile=-/etc/mcp-proxy/environment \\
         --property=LoadCredential=NAME:/etc/mcp-proxy/credentials/NAME $1 --config /etc/mcp-proxy/config.yaml check-config --online
  4. systemctl enable --now $name
TEXT
}

# Enables and starts it when its configuration is right; else says what is left to do. A configuration that takes secrets from
# the unit (variables, credentials) looks unfinished here, and is started by the operator.
first_start() {
  [ -n "$start" ] && live || return 0
  if "$1" --config /etc/mcp-proxy/config.yaml check-config >/dev/null 2>&1; then
    systemctl enable --quiet --now $name.service || fail "it did not start: journalctl -u $name"
    say "$name runs: systemctl status $name"
  else
    next_steps "$1"
  fi
}

install_package() {
  [ -z "$root" ] || fail "--package and --root do not go together"
  [ -f "$package" ] || fail "$package is no file"
  verify_sum "$package"
  path=$(cd "$(dirname "$package")" && pwd)/$(basename "$package")
  case "$package" in
    *.deb) if have apt-get; then apt-get install -y --no-install-recommends "$path"; else dpkg -i "$path"; fi ;;
    *.rpm) if have dnf; then dnf install -y "$path"; elif have zypper; then zypper --non-interactive install --allow-unsigned-rpm "$path"; else rpm -U "$path"; fi ;;
    *) fail "$package is neither .deb nor .rpm" ;;
  esac
  [ -n "$(running)" ] || first_start /usr/bin/$name
}

install_files() {
  kind=$(owner)
  [ -z "$kind" ] || fail "$name was installed as a .$kind package: upgrade it with --package, or remove it first"
  [ -f "$here/$name.service" ] || fail "there are no units beside this script: run the one of the release that you want"
  find_binary
  verify_sum "$binary"
  # Whatever is wrong with the file is better found before anything is changed.
  version=$("$binary" --version 2>/dev/null) || fail "$binary does not run here (wrong processor, or its C library is newer than this system's)"
  was=$(running)
  keep_old
  [ "$action" = install ] || [ -n "$old" ] || fail "there is nothing in $prefix to upgrade; use install"

  put 0755 "$binary" "$root$program"
  put 0644 "$here/sysusers.conf" "$root$lib/sysusers.d/$name.conf"
  put 0644 "$here/tmpfiles.conf" "$root$lib/tmpfiles.d/$name.conf"
  put 0644 "$here/config.yaml" "$root$share/$name/config.yaml"
  [ -e "$rotation" ] || put 0644 "$here/logrotate.conf" "$rotation"
  put 0755 "$here/install.sh" "$root$share/$name/install.sh"
  for file in "$here"/drop-ins/*; do put 0644 "$file" "$root$share/doc/$name/drop-ins/$(basename "$file")"; done
  put 0644 "$here/$name.8" "$root$share/man/man8/$name.8"
  for unit in $units; do put_unit "$here/$unit" "$root$lib/systemd/system/$unit"; done

  [ -n "$root" ] || make_user
  make_configuration
  say "$version is in $root$program"
  ! live || systemctl daemon-reload
  if [ -n "$was" ]; then
    if restart_running "$was"; then
      say "restarted: $(printf '%s' "$was" | tr '\n' ' ')"
    elif [ -n "$old" ]; then
      new=$failed
      put_old_back
      restart_running "$was" || fail "the new program did not come up as:$new. The old one and its units are back in their place, and do not come up either as:$failed. See: journalctl -u $name"
      fail "the new program did not come up as:$new; the old one and its units are back in their place, and run. See: journalctl -u $name"
    else
      fail "what ran before does not come up again as:$failed; nothing was in $prefix that could be put back. See: journalctl -u $name"
    fi
  elif [ "$action" = install ] || [ -n "$fresh" ]; then
    first_start "$program"
  fi
}

# Ends and forgets every unit of ours, instances too.
stop_all() {
  live || return 0
  all=$({ systemctl list-units --all --plain --no-legend "$name.service" "$name@*.service" "$name.socket" "$name-https.socket"
    systemctl list-unit-files --plain --no-legend "$name.service" "$name@*.service" "$name.socket" "$name-https.socket"; } |
    awk '$1 !~ /@\.service$/ { print $1 }' | sort -u)
  # Sockets first, or one more connection would start the service again.
  for unit in $(printf '%s\n' "$all" | sort -t. -k2,2r); do
    systemctl --quiet disable --now "$unit" 2>/dev/null || systemctl --quiet stop "$unit" 2>/dev/null || true
    systemctl reset-failed "$unit" 2>/dev/null || true
  done
}

purge_all() {
  rm -rf "$etc" "$rotation" "$root/var/lib/mcp-proxy" "$root/var/log/mcp-oidc-proxy"
  for unit in $name.service $name@ $name.socket $name-https.socket; do
    rm -rf "$root/etc/systemd/system/$unit"*.d
  done
  [ -z "$root" ] || return 0
  if getent passwd $user >/dev/null; then
    userdel $user || fail "the user $user is still in use"
  fi
  ! getent group $user >/dev/null || groupdel $user
}

uninstall() {
  kind=$(owner)
  case "$kind" in
    deb)
      if [ -n "$purge" ]; then dpkg --purge $name; else dpkg --remove $name; fi ;;
    rpm)
      stop_all
      rpm -e $name ;;
    *)
      stop_all
      for unit in $units; do rm -f "$root$lib/systemd/system/$unit"; done
      # It rotates as a user who may be gone soon.
      rm -f "$rotation"
      rm -f "$root$program" "$root$lib/tmpfiles.d/$name.conf" "$root$lib/sysusers.d/$name.conf" "$root$share/man/man8/$name.8"
      rm -rf "$root${share:?}/$name" "$root${share:?}/doc/$name"
      # Folders that only we needed. Those that others use are not empty.
      for folder in $lib/systemd/system $lib/systemd $lib/tmpfiles.d $lib/sysusers.d $share/doc $share/man/man8; do
        rmdir "$root$folder" 2>/dev/null || true
      done ;;
  esac
  [ -z "$purge" ] || purge_all
  ! live || systemctl daemon-reload
  if [ -n "$purge" ]; then say "$name is gone, with all that belonged to it"
  else say "$name is gone; /etc/mcp-proxy, /var/lib/mcp-proxy, /var/log/mcp-oidc-proxy and the user $user are still there (--purge removes them)"; fi
}

[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "run this as root"
case "$action" in
  status)
    kind=$(owner)
    if [ -n "$kind" ]; then say "installed as a .$kind package: $(/usr/bin/$name --version)"
    elif [ -x "$root$program" ]; then say "installed in $prefix: $("$root$program" --version)"
    else say "not installed"; exit 1; fi ;;
  uninstall) uninstall ;;
  *) if [ -n "$package" ]; then install_package; else install_files; fi ;;
esac
