#!/usr/bin/env bash
# Deploys an image as a new revision without traffic, asks it whether it is ready, moves traffic to it in two steps, and
# back when the public address stops answering. The service has to be there (gcloud run services replace service.yaml).
#
#   deploy.sh SERVICE REGION IMAGE
#
#   CANARY_PERCENT   share of the first step (default 10)
#   PUBLIC_URL       where to ask after each step (default: the service's own address)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# = 3 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
service="$1" region="$2" image="$3"
needs gcloud curl
run() { gcloud run --quiet "$@" --region "$region"; }
field() { run services describe "$service" --format "value($1)"; }

before="$(field status.latestReadyRevisionName)"
[ -n "$before" ] || die "the service $service has no revision that works; create it with: gcloud run services replace service.yaml"
say "from $before to $image"
# The tag is an address of its own for the new revision.
run deploy "$service" --image "$image" --no-traffic --tag candidate
after="$(field status.latestCreatedRevisionName)"
candidate="$(run services describe "$service" --format json |
  python3 -c 'import json, sys; print(next(at["url"] for at in json.load(sys.stdin)["status"]["traffic"] if at.get("tag") == "candidate"))')"
healthy "$candidate" || die "$after is not ready; $before still has all traffic"

public="${PUBLIC_URL:-$(field status.url)}"
for percent in "${CANARY_PERCENT:-10}" 100; do
  rest=$((100 - percent))
  to="$after=$percent"
  [ "$rest" = 0 ] || to="$to,$before=$rest"
  say "traffic: $to"
  run services update-traffic "$service" --to-revisions "$to"
  if ! healthy "$public"; then
    run services update-traffic "$service" --to-revisions "$before=100"
    die "$public does not answer with $after at $percent %; $before has all traffic again"
  fi
done
run services update-traffic "$service" --remove-tags candidate
say "$after serves"
