#!/usr/bin/env bash
# Deploys an image to the stack of template.yaml, looks whether it is healthy, and goes back when it is not.
#
#   deploy.sh STACK IMAGE [KEY=VALUE…]      parameters of the template; all of them the first time
#
# CloudFormation and the service's circuit breaker go back by themselves when tasks do not start or answer with errors;
# this script also goes back, to the template and all parameters from before, when the public address does not answer.
# As long as the public name leads nowhere (before the first deployment nobody knows where to point it) the load balancer
# is asked itself, under that name.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
stack="$1" image="$2"
shift 2
needs aws curl

stack_says() { aws cloudformation describe-stacks --stack-name "$stack" --output text --query "Stacks[0].$1"; }
parameter() { stack_says "Parameters[?ParameterKey=='$1'].ParameterValue"; }
output() { stack_says "Outputs[?OutputKey=='$1'].OutputValue"; }
stable() { aws ecs wait services-stable --cluster "$(output ClusterName)" --services "$(output ServiceName)"; }

# Code 6 of curl: the name was not resolved.
resolves() {
  local code=0
  curl -s -o /dev/null --max-time 10 ${HEALTH_CA:+--cacert "$HEALTH_CA"} "$1/ready" || code=$?
  [ "$code" != 6 ]
}
serves() {
  local url balancer
  url="$(parameter PublicUrl)"
  balancer="$(output BalancerName)"
  if [ -n "$before" ] && resolves "$url"; then
    healthy "$url"
  else
    say "point the name of $url at $balancer; until then, the load balancer is asked"
    healthy "$url" --connect-to "::$balancer:"
  fi
}

state="$(stack_says StackStatus 2>/dev/null || true)"
[ "$state" != ROLLBACK_COMPLETE ] ||
  die "the first creation of $stack was taken back, and CloudFormation cannot go on from there. Its events say why; then: aws cloudformation delete-stack --stack-name $stack"
saved="$(mktemp -d)"
trap 'rm -rf "$saved"' EXIT
before=''
if [ -n "$state" ] && stack_save "$stack" "$saved"; then before="$(sed -n 's/^Image=//p' "$saved/parameters")"; fi
say "from ${before:-nothing} to $image"
if ! stack_apply "$stack" "$here/template.yaml" "Image=$image" "$@"; then
  # CloudFormation has gone back, or says why it could not; with the stack in between nothing more can be asked of it.
  die "CloudFormation did not take $image and went back to ${before:-nothing}; see: aws cloudformation describe-stack-events --stack-name $stack"
fi
if stable && serves; then
  say "$image serves"
  exit 0
fi
[ -n "$before" ] || die "the first deployment is not healthy; see the events of the stack $stack and its log group /ecs/$stack. Run this again with what was wrong"
say "not healthy; going back to $before and its parameters"
stack_restore "$stack" "$saved" && stable || die "going back to $before failed; see: aws cloudformation describe-stack-events --stack-name $stack"
serves || die "$before is not healthy either: look at what both need (provider, Redis, DNS, certificate)"
die "$image was not healthy, $before serves again"
