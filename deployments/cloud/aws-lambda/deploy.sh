#!/usr/bin/env bash
# Deploys the proxy as a Lambda function, waits until it answers, and goes back to the code, the template and the
# parameters from before when it does not.
#
#   deployments/cloud/aws-lambda/deploy.sh --stack NAME --bucket BUCKET --zip FILE [--public-url URL] KEY=VALUE...
#
# KEY=VALUE are the parameters of template.yaml that it asks for (OidcDiscoveryUrl, OidcClientId, ...). Those of a stack
# that is there already keep their values. Needs the AWS CLI (version 2), signed in, and curl.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"

usage() { sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
stack='' bucket='' zip='' public='' parameters=()
while (($#)); do
  case "$1" in
    --stack) stack="${2:?}"; shift 2 ;;
    --bucket) bucket="${2:?}"; shift 2 ;;
    --zip) zip="${2:?}"; shift 2 ;;
    --public-url) public="${2:?}"; shift 2 ;;
    [A-Z]*=*) parameters+=("$1"); shift ;;
    *) usage ;;
  esac
done
if [ -z "$stack" ] || [ -z "$bucket" ] || [ -z "$zip" ]; then usage; fi
[ -f "$zip" ] || { echo "deploy.sh: there is no $zip; build.sh makes it" >&2; exit 2; }

# of KIND NAME: a parameter or output of the stack; nothing when there is no such stack.
of() {
  local name_of=ParameterKey value_of=ParameterValue
  [ "$1" = Parameters ] || name_of=OutputKey value_of=OutputValue
  aws cloudformation describe-stacks --stack-name "$stack" --output text \
    --query "Stacks[0].$1[?$name_of=='$2'].$value_of | [0]" 2>/dev/null | sed 's/^None$//' || true
}
deploy() { stack_apply "$stack" "$here/template.yaml" "$@"; }
# The first answer of a new function may take a few seconds.
answers() {
  local tries
  for ((tries = 0; tries < ${DEPLOY_TRIES:-20}; tries++)); do
    if [ "$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 15 "https://$1/health")" = 200 ]; then
      return 0
    fi
    sleep "${DEPLOY_PAUSE:-3}"
  done
  return 1
}

saved="$(mktemp -d)"
trap 'rm -rf "$saved"' EXIT
before=''
if stack_save "$stack" "$saved"; then before="$(sed -n 's/^CodeKey=//p' "$saved/parameters")"; fi
key="mcp-oidc-proxy/$(sha256sum "$zip" | cut -d' ' -f1).zip"
aws s3 cp --only-show-errors "$zip" "s3://$bucket/$key"

deploy "CodeBucket=$bucket" "CodeKey=$key" ${public:+"PublicUrl=$public"} "${parameters[@]}"
address="$(of Outputs Address)"
if [ -z "$public" ] && [ "$(of Parameters PublicUrl)" = https://not-known-yet.invalid ]; then
  # AWS has only now said what the address is, and the function has to know it.
  deploy "PublicUrl=https://$address"
fi

if answers "$address"; then
  echo "it answers at https://$address; its address for people and clients is $(of Parameters PublicUrl)"
  echo "redirect URI for the identity provider: $(of Parameters PublicUrl)/oauth2/callback"
  exit 0
fi
echo "deploy.sh: https://$address/health does not answer with 200; the function's log says why: aws logs tail /aws/lambda/$stack" >&2
if [ -n "$before" ]; then
  echo "deploy.sh: going back to $before and its parameters" >&2
  stack_restore "$stack" "$saved"
  answers "$address" || { echo "deploy.sh: that does not answer either: look at what both need (provider, Redis, secrets)" >&2; exit 1; }
  echo "deploy.sh: the code from before answers again" >&2
fi
exit 1
