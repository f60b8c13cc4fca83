#!/bin/sh
# Installs what the comparison needs, builds, and runs it. Everything listens on loopback.
set -eu
cd "$(dirname "$0")/../.."
# make passes these as variables.
[ -z "${BASELINE:-}" ] || set -- "$@" --baseline
[ -z "${ONLY:-}" ] || set -- "$@" --only "$ONLY"

missing=""
command -v nginx >/dev/null || missing="$missing nginx-light"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v taskset >/dev/null || missing="$missing util-linux"
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || { echo "install first:$missing" >&2; exit 1; }
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    # The packages would start their services; the comparison starts its own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod +x "$policy"
        trap '$sudo rm -f "$policy"' EXIT
    fi
    # shellcheck disable=SC2086 # a list of names
    $sudo apt-get update -q && $sudo apt-get install -q -y --no-install-recommends $missing
fi

# Built first, so that the pinned run does not compile on one CPU.
cargo bench --bench compare --no-run
cargo bench --quiet --bench compare -- "$@"
