#!/usr/bin/env bash
# Deploys an image to the stack of template.yaml, looks whether it is healthy, and goes back when it is not.
#
#   deploy.sh STACK IMAGE [KEY=VALUE…]      parameters of the template; all of them the first time
#
# CloudFormation and the service's circuit breaker go back by themselves when tasks do not start or answer with errors;
# this script also goes back when the public address does not answer.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
stack="$1" image="$2"
shift 2
needs aws curl

parameter() {
  aws cloudformation describe-stacks --stack-name "$stack" --output text \
    --query "Stacks[0].Parameters[?ParameterKey=='$1'].ParameterValue"
}
output() {
  aws cloudformation describe-stacks --stack-name "$stack" --output text --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue"
}
apply() {
  aws cloudformation deploy --stack-name "$stack" --template-file "$here/template.yaml" --capabilities CAPABILITY_IAM \
    --no-fail-on-empty-changeset --parameter-overrides "$@" &&
    aws ecs wait services-stable --cluster "$(output ClusterName)" --services "$(output ServiceName)"
}

before="$(parameter Image 2>/dev/null || true)"
say "from ${before:-nothing} to $image"
if apply "Image=$image" "$@" && healthy "$(parameter PublicUrl)"; then
  say "$image serves"
  exit 0
fi
[ -n "$before" ] || die "the first deployment is not healthy; see the events of the stack $stack and its log group /ecs/$stack"
say "not healthy; going back to $before"
apply "Image=$before"
healthy "$(parameter PublicUrl)" || die "$before is not healthy either: look at what both need (provider, Redis, DNS, certificate)"
die "$image was not healthy, $before serves again"
