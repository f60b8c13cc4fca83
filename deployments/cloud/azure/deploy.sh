#!/usr/bin/env bash
# Deploys an image to Container Apps as a new revision, asks it whether it is ready before it gets traffic, and leaves
# traffic where it was when it is not.
#
#   deploy.sh APP RESOURCE_GROUP IMAGE
#
#   CANARY_PERCENT   share of the first step (default 10)
#   PUBLIC_URL       where to ask after each step (default: the app's own address)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# = 3 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
app="$1" group="$2" image="$3"
needs az curl
apps() { az containerapp "$@" --name "$app" --resource-group "$group" --output tsv; }

before="$(apps show --query properties.latestReadyRevisionName)"
[ -n "$before" ] || die "the app $app has no revision that works; create it with main.bicep or containerapp.yaml"
# Traffic stays where it is until the new revision has shown that it is ready.
apps ingress traffic set --revision-weight "$before=100" >/dev/null
say "from $before to $image"
apps update --image "$image" --revision-suffix "r$(date -u +%y%m%d%H%M%S)" >/dev/null
after="$(apps show --query properties.latestRevisionName)"
address="$(apps revision show --revision "$after" --query properties.fqdn)"
if ! healthy "https://$address"; then
  apps revision deactivate --revision "$after" >/dev/null
  die "$after is not ready; $before still has all traffic"
fi

public="${PUBLIC_URL:-https://$(apps show --query properties.configuration.ingress.fqdn)}"
for percent in "${CANARY_PERCENT:-10}" 100; do
  rest=$((100 - percent))
  weights=("$after=$percent")
  [ "$rest" = 0 ] || weights+=("$before=$rest")
  say "traffic: ${weights[*]}"
  apps ingress traffic set --revision-weight "${weights[@]}" >/dev/null
  if ! healthy "$public"; then
    apps ingress traffic set --revision-weight "$before=100" >/dev/null
    apps revision deactivate --revision "$after" >/dev/null
    die "$public does not answer with $after at $percent %; $before has all traffic again"
  fi
done
say "$after serves; $before stays for a while: az containerapp revision deactivate --revision $before …"
