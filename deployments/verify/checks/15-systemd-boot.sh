# systemd/ for real: boots a system in a container tree, with the program installed by install.sh, and does to it what
# operators do. The tree is made once from the distribution's own packages.
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
cleanup() { umount "$work/root" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
mkdir -p "$work"/{up,work,root,verify/out,verify/deployments/verify,verify/docs/install}
# Laid out as in the repository, so that the commands of the documentation work as they are printed.
cp -r systemd "$work/verify/"
cp -r deployments/verify/systemd "$work/verify/deployments/verify/"
cp docs/install/systemd.md "$work/verify/docs/install/"
cp "$(binary)" "$work/verify/mcp-oidc-proxy"
find "$cache/packages" -name '*.deb' -exec cp {} "$work/verify/" \; 2>/dev/null || true

boot() {
  mount -t overlay overlay -o "lowerdir=$tree,upperdir=$work/up,workdir=$work/work" "$work/root"
  cat >"$work/root/etc/systemd/system/suite.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
Environment=PYTHONDONTWRITEBYTECODE=1
ExecStart=/bin/sh -c 'python3 -u /verify/deployments/verify/systemd/suite.py >/verify/out/log 2>&1; journalctl --no-pager >/verify/out/journal'
ExecStopPost=/bin/systemctl --no-block poweroff
UNIT
  mkdir -p "$work/root/verify"
  ln -sf ../suite.service "$work/root/etc/systemd/system/multi-user.target.wants/"
  # A network of its own: nothing that runs here is reached, and no port is taken.
  timeout 900 systemd-nspawn --quiet --directory="$work/root" --boot --register=no --keep-unit --private-network \
    --bind="$work/verify:/verify" --machine="verify$$" </dev/null >"$VERIFY_LOGS/$VERIFY_CHECK.console"
  cat "$work/verify/out/log"
  cp "$work/verify/out/journal" "$VERIFY_LOGS/$VERIFY_CHECK.journal"
  test -e "$work/verify/out/done"
}
proof "$what" "boot and power off" boot

# A row for each thing that was done.
while IFS=$'\t' read -r result step note; do
  row "systemd: ${step%%;*}" "run in a booted system" "$result" "$note"
  printf '%-8s %s%s\n' "$result" "$step" "${note:+ ($note)}"
done < <(cat "$work/verify/out/results" 2>/dev/null)
