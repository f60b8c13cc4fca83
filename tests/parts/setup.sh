#!/usr/bin/env bash
# Installs the real parts that the integration tests run against: OIDC providers, MCP servers and clients,
# Redis, Chromium. Everything is pinned (package-lock.json, requirements.txt, the version below).
# Run it as often as you like: what is already there is left alone.
#
#   MCP_PROXY_TEST_CACHE   where to keep what was fetched (default: tests/parts/.cache)
set -euo pipefail

keycloak_version=26.4.0
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${MCP_PROXY_TEST_CACHE:-$here/.cache}"
mkdir -p "$cache"
cache="$(cd "$cache" && pwd)"

say() { printf 'parts: %s\n' "$*"; }
fail() { printf 'parts: %s\n' "$*" >&2; exit 1; }

# One set-up at a time for one cache.
exec 9>"$cache/.lock"
flock 9

# --- what comes from the system's packages -----------------------------------------------------------
# command:package
system=(redis-server:redis-server redis-sentinel:redis-sentinel chromium:chromium nginx:nginx-light
  wrk:wrk node:nodejs npm:npm python3:python3 java:openjdk-17-jre-headless mvn:maven unzip:unzip
  openssl:openssl curl:curl)
missing=()
for entry in "${system[@]}"; do
  command="${entry%%:*}" package="${entry##*:}"
  if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null; then
    missing+=("$package")
  fi
done
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
  if [ "$(id -u)" != 0 ]; then
    fail "these packages are missing: ${missing[*]}. Install them (Debian: apt-get install ${missing[*]}) and run this again."
  fi
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # A service that a package would start is none of ours: the tests start their own, on free ports.
  apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >"$cache/apt.log" 2>&1 ||
    fail "installing failed; see $cache/apt.log"
fi
node_major="$(node --version | sed 's/^v\([0-9]*\).*/\1/')"
[ "$node_major" -ge 20 ] || fail "Node $(node --version) is too old; 20 or newer is needed."
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$(python3 --version) is too old; 3.11 or newer is needed."

hash_of() { cat "$@" | sha256sum | cut -c1-16; }

# Puts a finished folder in its place; a set-up that was cut short leaves nothing that looks finished.
link() { ln -sfn "$1" "$2"; }

# --- Node packages -----------------------------------------------------------------------------------
node_dir="$cache/node-$(hash_of "$here/package-lock.json" "$here/package.json")"
if [ ! -f "$node_dir/.done" ]; then
  say "installing Node packages"
  rm -rf "$node_dir"
  mkdir -p "$node_dir"
  cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$node_dir/"
  (cd "$node_dir" && npm ci --no-progress --loglevel=error) >"$cache/npm.log" 2>&1 </dev/null ||
    fail "npm ci failed; see $cache/npm.log"
  touch "$node_dir/.done"
fi
if [ -d "$here/node_modules" ] && [ ! -L "$here/node_modules" ]; then rm -rf "$here/node_modules"; fi
link "$node_dir/node_modules" "$here/node_modules"

# --- Python packages ---------------------------------------------------------------------------------
python_dir="$cache/python-$(hash_of "$here/requirements.txt")"
if [ ! -f "$python_dir/.done" ]; then
  say "installing Python packages"
  rm -rf "$python_dir"
  python3 -m venv "$python_dir"
  "$python_dir/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
    -r "$here/requirements.txt" >"$cache/pip.log" 2>&1 </dev/null || fail "pip install failed; see $cache/pip.log"
  touch "$python_dir/.done"
fi
mkdir -p "$here/.cache"
link "$python_dir" "$here/.cache/python"

# --- Keycloak ----------------------------------------------------------------------------------------
keycloak_dir="$cache/keycloak-$keycloak_version"
if [ ! -f "$keycloak_dir/.done" ]; then
  say "fetching Keycloak $keycloak_version (160 MB)"
  rm -rf "$keycloak_dir" "$cache/keycloak.new"
  mkdir -p "$cache/keycloak.new"
  (cd "$cache" && mvn --quiet --batch-mode dependency:copy \
    -Dartifact="org.keycloak:keycloak-quarkus-dist:$keycloak_version:zip" \
    -DoutputDirectory="$cache/keycloak.new" -Dmdep.useBaseVersion=true) >"$cache/mvn.log" 2>&1 </dev/null ||
    fail "fetching Keycloak failed; see $cache/mvn.log"
  (cd "$cache/keycloak.new" && unzip -q ./*.zip && rm ./*.zip)
  mv "$cache/keycloak.new/keycloak-$keycloak_version" "$keycloak_dir"
  rmdir "$cache/keycloak.new"
  say "building Keycloak's start image"
  # An optimized build with an in-memory database: starts several times faster than start-dev, and
  # keeps nothing between two runs.
  "$keycloak_dir/bin/kc.sh" build --db=dev-mem --health-enabled=false \
    >"$cache/keycloak-build.log" 2>&1 </dev/null || fail "Keycloak's build failed; see $cache/keycloak-build.log"
  touch "$keycloak_dir/.done"
fi
link "$keycloak_dir" "$here/.cache/keycloak"

say "ready (Node $(node --version), $(python3 --version), Keycloak $keycloak_version, $(redis-server --version | cut -d' ' -f3))"
