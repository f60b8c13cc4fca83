# What the deploy scripts share. Sourced.
# shellcheck shell=bash

say() { printf '%s %s\n' "$(date -u +%H:%M:%SZ)" "$*" >&2; }
die() { say "$*"; exit 1; }
needs() { local tool; for tool; do command -v "$tool" >/dev/null || die "the command $tool is needed"; done; }

# healthy ORIGIN [OPTION-OF-CURL…]: /ready answers 200. Tried HEALTH_TRIES times (5), HEALTH_PAUSE seconds (10) apart, as
# a new version may need a moment. Says what it saw.
healthy() {
  local try code origin="${1%/}"
  shift
  for try in $(seq "${HEALTH_TRIES:-5}"); do
    code="$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 ${HEALTH_CA:+--cacert "$HEALTH_CA"} "$@" "$origin/ready" || true)"
    if [ "$code" = 200 ]; then
      say "$origin is ready"
      return 0
    fi
    say "try $try: $origin/ready says $code"
    [ "$try" = "${HEALTH_TRIES:-5}" ] || sleep "${HEALTH_PAUSE:-10}"
  done
  return 1
}

# stack_save STACK FOLDER: puts what a stack of CloudFormation is made of now, its template and its parameters, into the
# folder. False when there is no such stack.
stack_save() {
  aws cloudformation describe-stacks --stack-name "$1" --output text \
    --query 'Stacks[0].Parameters[].[ParameterKey,ParameterValue]' 2>/dev/null | sed 's/\t/=/' >"$2/parameters" || return 1
  aws cloudformation get-template --stack-name "$1" --template-stage Original --output text --query TemplateBody >"$2/template.yaml"
}

# stack_apply STACK TEMPLATE KEY=VALUE…: parameters that are not named stay what they are.
stack_apply() {
  aws cloudformation deploy --stack-name "$1" --template-file "$2" --capabilities CAPABILITY_IAM \
    --no-fail-on-empty-changeset --parameter-overrides "${@:3}"
}

# stack_restore STACK FOLDER: makes the stack what it was at stack_save, with every parameter.
stack_restore() {
  local parameters
  mapfile -t parameters <"$2/parameters"
  stack_apply "$1" "$2/template.yaml" "${parameters[@]}"
}
