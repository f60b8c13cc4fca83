# systemd/ for real: boots a system in a container tree, with the program installed by install.sh, and does to it what
# operators do. The tree is made once from the distribution's own packages. SUITE_STEPS="installs starts sockets": these only.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

what="systemd/ in a booted system"
if quick; then skip "$what" "boot" "not in the quick run"; exit 0; fi
if [ "$(id -u)" != 0 ]; then skip "$what" "boot" "not root"; exit 0; fi
if ! need_deb systemd-nspawn systemd-container || ! need_deb debootstrap debootstrap; then
  skip "$what" "boot" "systemd-nspawn or debootstrap is missing"
  exit 0
fi

packages=systemd,systemd-sysv,python3,logrotate,ca-certificates,curl
tree="$cache/systemd-tree-$(printf '%s' "$packages" | cksum | cut -d' ' -f1)"
make_tree() {
  # One at a time, apart from other tools that are being fetched.
  exec 8>"$tree.lock"
  flock 8
  [ ! -d "$tree" ] || return 0
  local codename mirror
  codename="$(. /etc/os-release && echo "$VERSION_CODENAME")"
  # From where this system has its own packages.
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' "Codename: $codename" 'Component: main' | head -n 1)"
  rm -rf "$tree.part"
  debootstrap --variant=minbase --include="$packages" "$codename" "$tree.part" "$mirror"
  mv "$tree.part" "$tree"
}
[ -d "$tree" ] || proof "container tree" "debootstrap" make_tree
[ -d "$tree" ] || exit 0

work="$(mktemp -d)"
cleanup() {
  umount "$work/root" "$work/rpm/root" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
mkdir -p "$work"/{up,work,root,verify/out,verify/deployments/verify,verify/docs/install}
# Laid out as in the repository, so that the commands of the documentation work as they are printed.
cp -r systemd "$work/verify/"
cp -r deployments/verify/systemd "$work/verify/deployments/verify/"
cp -r deployments/backup deployments/cloud deployments/deploy.sh "$work/verify/deployments/"
cp docs/install/systemd.md "$work/verify/docs/install/"
mkdir -p "$work/verify/docs/runbooks" && cp docs/runbooks/emergency.md "$work/verify/docs/runbooks/"
mkdir -p "$work/verify/docs/cloud" && cp docs/cloud/vps.md "$work/verify/docs/cloud/"
cp "$(binary)" "$work/verify/mcp-oidc-proxy"
find "$cache/packages" -name '*.deb' -exec cp {} "$work/verify/" \; 2>/dev/null || true

boot() {
  mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/up,workdir=$work/work" "$work/root"
  cat >"$work/root/etc/systemd/system/suite.service" <<UNIT
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart=/bin/sh -c 'python3 -u /verify/deployments/verify/systemd/suite.py ${SUITE_STEPS:-} >/verify/out/log 2>&1; journalctl --no-pager >/verify/out/journal'
ExecStopPost=/bin/systemctl --no-block poweroff
UNIT
  mkdir -p "$work/root/verify"
  ln -sf ../suite.service "$work/root/etc/systemd/system/multi-user.target.wants/"
  # A network of its own: nothing that runs here is reached, and no port is taken.
  timeout 1800 systemd-nspawn --quiet --directory="$work/root" --boot --register=no --keep-unit --private-network \
    --bind="$work/verify:/verify" --machine="verify$$" </dev/null >"$VERIFY_LOGS/$VERIFY_CHECK.console"
  cat "$work/verify/out/log"
  cp "$work/verify/out/journal" "$VERIFY_LOGS/$VERIFY_CHECK.journal"
  test -e "$work/verify/out/done"
}
find "$cache/packages" -name '*.deb' 2>/dev/null | grep . >/dev/null || skip ".deb" "run in a booted system" "no package (check 12)"
proof "$what" "boot and power off" boot

# A row for each thing that was done.
while IFS=$'\t' read -r result step note; do
  row "systemd: ${step%%;*}" "run in a booted system" "$result" "$note"
  printf '%-8s %s%s\n' "$result" "$step" "${note:+ ($note)}"
done < <(cat "$work/verify/out/results" 2>/dev/null)

# The .rpm in a tree of its own: Debian's rpm does the installing, so what it depends on is looked at elsewhere.
package="$(find "$cache/packages" -name '*.rpm' 2>/dev/null || true)"
rpm_tree() {
  mkdir -p "$work"/rpm/{up,work,root}
  mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/rpm/up,workdir=$work/rpm/work" "$work/rpm/root"
  local root="$work/rpm/root"
  rpm --root "$root" --initdb
  rpm --root "$root" -i --nodeps "$package"
  grep '^mcp-proxy:' "$root/etc/passwd"
  group="$(awk -F: '$1 == "mcp-proxy" { print $3 }' "$root/etc/group")"
  test "$(cd "$root/etc/mcp-proxy" && stat -c '%u:%g:%a' . config.yaml root-key environment | tr '\n' ' ')" = \
    "0:$group:750 0:$group:640 0:$group:640 0:0:600 "
  echo '# changed by hand' >>"$root/etc/mcp-proxy/config.yaml"
  key="$(cat "$root/etc/mcp-proxy/root-key")"
  rpm --root "$root" -U --nodeps --force "$package"
  grep 'changed by hand' "$root/etc/mcp-proxy/config.yaml"
  test "$key" = "$(cat "$root/etc/mcp-proxy/root-key")"
  chroot "$root" /usr/bin/mcp-oidc-proxy --version
  rpm --root "$root" -e mcp-oidc-proxy
  test ! -e "$root/usr/bin/mcp-oidc-proxy" && test ! -e "$root/usr/lib/systemd/system/mcp-oidc-proxy.service"
  grep 'changed by hand' "$root/etc/mcp-proxy/config.yaml.rpmsave"
}
if [ -n "$package" ] && have rpm; then
  proof ".rpm" "installed, upgraded, removed in a tree" rpm_tree
else
  skip ".rpm" "installed in a tree" "no package (check 12), or rpm is missing"
fi

# Drop-ins that this system's systemd is too old for, looked at by a newer one.
newer="$cache/systemd-newer"
make_newer() {
  exec 8>"$newer.lock"
  flock 8
  [ ! -d "$newer" ] || return 0
  local mirror
  mirror="$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' 'Component: main' | head -n 1)"
  rm -rf "$newer.part"
  debootstrap --variant=minbase --include=systemd trixie "$newer.part" "$mirror"
  mv "$newer.part" "$newer"
}
[ -d "$newer" ] || proof "container tree of a newer system" "debootstrap" make_newer
[ -d "$newer" ] || exit 0

systemd/install.sh --root "$work/newer" --prefix /usr --binary "$(binary)" >/dev/null
newer_verify() {
  local unit="$1" said
  shift
  rm -rf "$work/units" && mkdir -p "$work/units/mcp-oidc-proxy.service.d"
  cp "$work"/newer/usr/lib/systemd/system/* "$work/units/"
  for drop_in; do cp "systemd/drop-ins/$drop_in.conf" "$work/units/mcp-oidc-proxy.service.d/"; done
  said="$(systemd-nspawn --quiet --directory="$newer" --register=no --keep-unit --private-network --pipe --as-pid2 \
    --machine="newer$$" --bind-ro="$work/newer/usr/bin/mcp-oidc-proxy:/usr/bin/mcp-oidc-proxy" --bind-ro="$work/units:/verify" \
    systemd-analyze verify --man=no "/verify/$unit" 2>&1 </dev/null | grep -v 'Attempted to remove disk file system' || true)"
  printf '%s\n' "$said"
  test -z "$said"
}
version="$(systemd-nspawn --quiet --directory="$newer" --register=no --keep-unit --pipe --as-pid2 --machine="newer$$" \
  systemd-analyze --version 2>/dev/null </dev/null | awk 'NR == 1 { print $2 }')"
for unit in mcp-oidc-proxy.service mcp-oidc-proxy.socket mcp-oidc-proxy-https.socket; do
  proof "systemd/$unit" "systemd-analyze verify ($version)" newer_verify "$unit"
done
for drop_in in notify-reload backoff; do
  proof "systemd/drop-ins/$drop_in.conf" "systemd-analyze verify ($version)" newer_verify mcp-oidc-proxy.service "$drop_in"
done
