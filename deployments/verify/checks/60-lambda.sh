# deployments/cloud/aws-lambda/: the template, and the scripts around it against stand-ins for AWS.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

lambda="deployments/cloud/aws-lambda"
stage="$VERIFY_ROOT/target/verify/lambda"
rm -rf "$stage" && mkdir -p "$stage/bin"

if need_pip cfn-lint cfn-lint==1.58.0; then
  proof "$lambda/template.yaml" "cfn-lint 1.58.0 (schema only)" cfn-lint --non-zero-exit-code informational "$lambda/template.yaml"
else
  skip "$lambda/template.yaml" "cfn-lint" "cfn-lint is missing, and pip cannot fetch it"
fi

# What the template puts into the environment is a configuration that the program takes, and it reads each secret by the
# ARN that was given for it, as a stand-in for Secrets Manager sees.
aws_inside() { env -i MCP_PROXY__SECRET_KEYS__0__AWS_SECRET='{ id: x }' "$1" check-config 2>&1 | grep 'without the feature `aws`' >/dev/null && return 1 || return 0; }
if aws_inside "$(binary)"; then
  proof "$lambda/template.yaml" "its environment: check-config --online" python3 -B deployments/verify/lambda/environment.py "$lambda/template.yaml" "$(binary)"
else
  skip "$lambda/template.yaml" "its environment: check-config --online" "the binary is built without the feature aws"
fi

# A stand-in for the AWS CLI: remembers what was deployed. For curl: answers as it is told.
cat >"$stage/bin/aws" <<'STUB'
#!/usr/bin/env bash
set -euo pipefail
echo "aws $*" >>"$STUB_LOG"
touch "$STUB_STATE"
case "$1 $2" in
  's3 cp') test -s "$4" ;;
  'cloudformation deploy')
    declare -A all
    while IFS='=' read -r name value; do all[$name]="$value"; done <"$STUB_STATE"
    [ -n "${all[PublicUrl]:-}" ] || all[PublicUrl]=https://not-known-yet.invalid
    while [ "$1" != --parameter-overrides ]; do
      if [ "$1" = --template-file ]; then echo "the last template: $(head -n 1 "$2")" >>"$STUB_LOG"; fi
      shift
    done
    shift
    for each; do all[${each%%=*}]="${each#*=}"; done
    for name in "${!all[@]}"; do printf '%s=%s\n' "$name" "${all[$name]}"; done >"$STUB_STATE.new"
    mv "$STUB_STATE.new" "$STUB_STATE" ;;
  'cloudformation get-template') echo 'Description: of before' ;;
  'cloudformation describe-stacks')
    test -s "$STUB_STATE"
    if [[ "$*" == *'Parameters[].['* ]]; then sed 's/=/\t/' "$STUB_STATE"; exit 0; fi
    name="$(grep -o "Key=='[A-Za-z]*'" <<<"$*" | cut -d"'" -f2)"
    if [ "$name" = Address ]; then echo abc.lambda-url.eu-west-1.on.aws; else sed -n "s/^$name=//p" "$STUB_STATE"; fi ;;
  *) exit 64 ;;
esac
STUB
cat >"$stage/bin/curl" <<'STUB'
#!/usr/bin/env bash
echo "curl $*" >>"$STUB_LOG"
printf '%s' "$STUB_STATUS"
STUB
chmod +x "$stage/bin/aws" "$stage/bin/curl"

deploy() {
  STUB_LOG="$stage/log" STUB_STATE="$stage/state" STUB_STATUS="$1" DEPLOY_TRIES=2 DEPLOY_PAUSE=0 PATH="$stage/bin:$PATH" \
    "$lambda/deploy.sh" --stack mcp --bucket code --zip "$2" "${@:3}"
}
deploys() {
  rm -f "$stage/log" "$stage/state"
  echo one >"$stage/one.zip"
  echo two >"$stage/two.zip"
  one="$(sha256sum "$stage/one.zip" | cut -d' ' -f1)"
  # A new stack learns its own address in a second step.
  deploy 200 "$stage/one.zip" OidcClientId=mcp | grep -F 'https://abc.lambda-url.eu-west-1.on.aws/oauth2/callback'
  test "$(grep -c 'cloudformation deploy' "$stage/log")" = 2
  grep -qx 'PublicUrl=https://abc.lambda-url.eu-west-1.on.aws' "$stage/state"
  # One that does not answer goes back to the code, the template and the parameters from before.
  sort "$stage/state" >"$stage/state.before"
  if deploy 502 "$stage/two.zip" OidcClientId=other TargetHost=10.9.9.9; then echo 'this should have failed'; return 1; fi
  grep -qx "CodeKey=mcp-oidc-proxy/$one.zip" "$stage/state"
  # The stand-in keeps a parameter that the template from before does not have.
  diff "$stage/state.before" <(grep -v '^TargetHost=' "$stage/state" | sort)
  grep -qx 'OidcClientId=mcp' "$stage/state"
  [ "$(grep '^the last template: ' "$stage/log" | tail -n 1)" = 'the last template: Description: of before' ]
  # So does one with the same code and a parameter that is wrong.
  if deploy 502 "$stage/one.zip" OidcClientId=other; then echo 'this should have failed'; return 1; fi
  grep -qx 'OidcClientId=mcp' "$stage/state"
  # An address of one's own is kept.
  rm -f "$stage/state"
  deploy 200 "$stage/two.zip" --public-url https://mcp.example.com | grep -F 'https://mcp.example.com/oauth2/callback'
  grep -qx 'PublicUrl=https://mcp.example.com' "$stage/state"
}
proof "$lambda/deploy.sh" "run against stand-ins for aws, curl" deploys

# The zip, from a program that is there; building it once more for the platform takes minutes.
program="${LAMBDA_BINARY:-$VERIFY_ROOT/target/debug/mcp-oidc-proxy-lambda}"
zips() {
  case "$(uname -m)" in aarch64) arch=arm64 ;; *) arch=x86_64 ;; esac
  target="$(uname -m)-unknown-linux-gnu"
  cat >"$stage/bin/cargo-stub" <<STUB
#!/usr/bin/env bash
set -euo pipefail
[[ "\$*" == *'--features lambda'* && "\$*" == *'--bin mcp-oidc-proxy-lambda'* && "\$*" == *'--target $target'* ]]
mkdir -p target/$target/stub
strip --strip-all -o target/$target/stub/mcp-oidc-proxy-lambda "$program" || cp "$program" target/$target/stub/
STUB
  printf '#!/bin/sh\n' >"$stage/bin/rustup"
  chmod +x "$stage/bin/cargo-stub" "$stage/bin/rustup"
  printf 'version: 1\n' >"$stage/config.yaml"
  for n in 1 2; do
    PATH="$stage/bin:$PATH" CARGO="$stage/bin/cargo-stub" "$lambda/build.sh" --arch "$arch" --profile stub \
      --config "$stage/config.yaml" --out "$stage/$n.zip"
  done
  rm -rf "target/$target/stub"
  cmp "$stage/1.zip" "$stage/2.zip"
  python3 deployments/verify/lambda/boot.py "$stage/1.zip"
}
if [ -x "$program" ]; then
  proof "$lambda/build.sh" "zip made twice, alike; bootstrap run" zips
else
  skip "$lambda/build.sh" "zip made, bootstrap run" "no $program; make test-lambda builds it"
fi
