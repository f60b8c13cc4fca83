#!/bin/sh
# Makes the .deb and the .rpm from the metadata in Cargo.toml:
#
#   systemd/packages/build.sh [--binary FILE] [--out DIR] [--fast]
#
#   --binary FILE   put this program into them; default: target/release/mcp-oidc-proxy, built when it is missing
#   --out DIR       default target/packages
#   --fast          compress less
#
# Needs cargo-deb and cargo-generate-rpm, which it installs when they are missing.
set -eu

DEB_VERSION=3.8
RPM_VERSION=0.21

cd "$(dirname "$0")/../.."
binary=''
out=target/packages
deb_options=''
rpm_options=''
while [ $# -gt 0 ]; do
  case "$1" in
    --binary) binary=$2; shift ;;
    --out) out=$2; shift ;;
    --fast) deb_options=--fast; rpm_options=--payload-compress=gzip ;;
    *) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
cargo deb --version >/dev/null 2>&1 || cargo install cargo-deb --version "~$DEB_VERSION" --locked
cargo generate-rpm --version >/dev/null 2>&1 || cargo install cargo-generate-rpm --version "~$RPM_VERSION" --locked

if [ -n "$binary" ]; then
  # Both take what lies in a target folder; another one keeps what was built here.
  target=$PWD/target/packages.tmp
  mkdir -p "$target/release"
  install -m 0755 "$binary" "$target/release/mcp-oidc-proxy"
  strip "$target/release/mcp-oidc-proxy" 2>/dev/null || true
else
  target=$PWD/target
  [ -x target/release/mcp-oidc-proxy ] || cargo build --release --locked --features aws
fi
mkdir -p "$out"
CARGO_TARGET_DIR=$target cargo deb --no-build --locked ${deb_options:+"$deb_options"} --output "$out/"
CARGO_TARGET_DIR=$target cargo generate-rpm ${rpm_options:+"$rpm_options"} --target-dir "$target" --output "$out/"
[ -z "$binary" ] || rm -rf "$target"
ls -l "$out"
