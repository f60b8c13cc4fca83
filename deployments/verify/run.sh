#!/usr/bin/env bash
# Proves what is deployed with: runs every check in checks/ and prints a table of artefact, how it was proven, and
# what came of it. The full logs lie in target/verify/.
#
#   deployments/verify/run.sh            everything (installs what it needs)
#   deployments/verify/run.sh --quick    what needs no boot, cluster or image, for every change
#   deployments/verify/run.sh systemd    only the checks whose file name contains this
#
#   MCP_PROXY_TEST_CACHE   where to keep tools that were fetched or built (default: tests/parts/.cache)
#   PROXY_BINARY           the binary to try (default: target/debug/mcp-oidc-proxy, built when it is missing)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

export VERIFY_QUICK='' VERIFY_ROOT="$PWD" VERIFY_LOGS="$PWD/target/verify"
filter=''
for argument; do
  case "$argument" in
    --quick) VERIFY_QUICK=1 ;;
    -*) echo "usage: $0 [--quick] [FILTER]" >&2; exit 2 ;;
    *) filter="$argument" ;;
  esac
done
mkdir -p "$VERIFY_LOGS"
export VERIFY_RESULTS="$VERIFY_LOGS/results.tsv"
: >"$VERIFY_RESULTS"

for check in deployments/verify/checks/*.sh; do
  name="$(basename "$check" .sh)"
  [[ "$name" == *"$filter"* ]] || continue
  printf '\n--- %s\n' "$name"
  rows="$(wc -l <"$VERIFY_RESULTS")"
  # A check that ends early says so itself in the table, so that nothing is lost by it.
  VERIFY_CHECK="$name" bash "$check" </dev/null ||
    printf '%s\tthe check itself\tFAILED\tended with code %s\n' "$name" "$?" >>"$VERIFY_RESULTS"
  [ "$(wc -l <"$VERIFY_RESULTS")" -gt "$rows" ] || printf '%s\tthe check itself\tFAILED\tsaid nothing\n' "$name" >>"$VERIFY_RESULTS"
done

printf '\n%-58s %-34s %s\n' artefact 'how proven' result
awk -F'\t' '{ printf "%-58s %-34s %s%s\n", $1, $2, $3, ($4 == "" ? "" : " (" $4 ")") }' "$VERIFY_RESULTS"
count() { awk -F'\t' -v want="$1" '$3 == want' "$VERIFY_RESULTS" | wc -l; }
printf '\n%s ok, %s failed, %s skipped\n' "$(count ok)" "$(count FAILED)" "$(count skipped)"
[ -s "$VERIFY_RESULTS" ] || { echo "no check matches '$filter'" >&2; exit 2; }
[ "$(count FAILED)" = 0 ]
