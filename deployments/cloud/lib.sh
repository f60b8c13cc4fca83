# What the deploy scripts share. Sourced.
# shellcheck shell=bash

say() { printf '%s %s\n' "$(date -u +%H:%M:%SZ)" "$*" >&2; }
die() { say "$*"; exit 1; }
needs() { local tool; for tool; do command -v "$tool" >/dev/null || die "the command $tool is needed"; done; }

# healthy ORIGIN: /ready answers 200. Tried HEALTH_TRIES times (5), HEALTH_PAUSE seconds (10) apart, as a new version
# may need a moment. Says what it saw.
healthy() {
  local try code
  for try in $(seq "${HEALTH_TRIES:-5}"); do
    code="$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 ${HEALTH_CA:+--cacert "$HEALTH_CA"} "${1%/}/ready" || true)"
    if [ "$code" = 200 ]; then
      say "$1 is ready"
      return 0
    fi
    say "try $try: $1/ready says $code"
    [ "$try" = "${HEALTH_TRIES:-5}" ] || sleep "${HEALTH_PAUSE:-10}"
  done
  return 1
}
