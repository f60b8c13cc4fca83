# What checks share; sourced by checks/*.sh, which run.sh starts with VERIFY_* set.
# shellcheck shell=bash
set -euo pipefail
: "${VERIFY_CHECK:?}" "${VERIFY_ROOT:?start this through deployments/verify/run.sh}"
cd "$VERIFY_ROOT"

# Tools that were fetched or built stay here from one run to the next.
cache="${MCP_PROXY_TEST_CACHE:-$VERIFY_ROOT/tests/parts/.cache}/deploy"
mkdir -p "$cache/bin"
cache="$(cd "$cache" && pwd)"
export PATH="$cache/bin:$PATH:/usr/sbin:/sbin"

# row ARTEFACT HOW RESULT [NOTE]: one line of the table.
row() { printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" >>"$VERIFY_RESULTS"; }

# proof ARTEFACT HOW COMMAND...: runs the command; its output goes to a log that is shown when it fails.
proof() {
  local artefact="$1" how="$2" began=$SECONDS log
  shift 2
  log="$VERIFY_LOGS/$(printf '%s-%s-%s' "$VERIFY_CHECK" "$artefact" "$how" | tr -c 'A-Za-z0-9.\n' '-').log"
  # In a shell of its own, so that the first command that fails in a function is the end of it.
  set +e
  (set -e; "$@") >"$log" 2>&1
  local code=$?
  set -e
  if [ "$code" = 0 ]; then
    row "$artefact" "$how" ok
    printf 'ok       %s: %s (%ds)\n' "$artefact" "$how" $((SECONDS - began))
  else
    row "$artefact" "$how" FAILED "code $code, ${log#"$VERIFY_ROOT/"}"
    printf 'FAILED   %s: %s (code %s)\n' "$artefact" "$how" "$code"
    tail -n 40 "$log" | sed 's/^/         | /'
  fi
}

# skip ARTEFACT HOW REASON: says what was not proven, and what it would have needed.
skip() {
  row "$1" "$2" skipped "$3"
  printf 'skipped  %s: %s: %s\n' "$1" "$2" "$3"
}

# quick: only what is cheap was asked for.
quick() { [ -n "$VERIFY_QUICK" ]; }

# have COMMAND...: all are there.
have() { local tool; for tool; do command -v "$tool" >/dev/null || return 1; done; }

# One installation at a time, whoever else uses this cache.
locked() { (flock 9; "$@") 9>"$cache/.lock"; }

# need_deb COMMAND PACKAGE: has the command, from Debian's packages if need be. Nothing is started by it.
need_deb() { have "$1" || locked _deb "$2"; have "$1"; }
_deb() {
  have apt-get && [ "$(id -u)" = 0 ] || return 1
  apt-get update -qq >>"$cache/apt.log" 2>&1
  # A service that a package would start is none of ours.
  printf '#!/bin/sh\nexit 101\n' >"$cache/policy-rc.d" && chmod +x "$cache/policy-rc.d"
  DEBIAN_FRONTEND=noninteractive POLICYRCD="$cache/policy-rc.d" \
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >>"$cache/apt.log" 2>&1
}

# need_pip COMMAND REQUIREMENT...: has the command, from a virtual environment of its own.
need_pip() { have "$1" || locked _pip "$@"; have "$1"; }
_pip() {
  local command="$1" venv="$cache/venv-$1"
  shift
  [ -x "$venv/bin/$command" ] || {
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >>"$cache/pip.log" 2>&1
  } || return 1
  ln -sfn "$venv/bin/$command" "$cache/bin/$command"
}

# need_go COMMAND MODULE@VERSION: has the command, built from its source.
need_go() { have "$1" || locked _go "$@"; have "$1"; }
_go() {
  have go || return 1
  GOBIN="$cache/bin" GOFLAGS=-mod=mod CGO_ENABLED=0 go install "$2" >>"$cache/go.log" 2>&1
}

# binary: the path of the program to try, built when it is missing.
binary() {
  local path="${PROXY_BINARY:-$VERIFY_ROOT/target/debug/mcp-oidc-proxy}"
  [ -x "$path" ] || cargo build --quiet --locked --features aws >&2
  printf '%s\n' "$path"
}

# free_port: one that nobody listens on now.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
