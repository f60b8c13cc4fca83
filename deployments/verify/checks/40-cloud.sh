# Templates and deploy scripts for clouds. None of these can be had here: templates are checked against schemas, deploy
# scripts are run against stand-ins of the clouds' tools.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
source "$VERIFY_ROOT/deployments/verify/rig/rig.sh"
source "$VERIFY_ROOT/deployments/verify/rig/clouds.sh"
cloud="$VERIFY_ROOT/deployments/cloud"
here="$VERIFY_ROOT/deployments/verify/cloud"

if need_pip cfn-lint cfn-lint==1.58.0; then
  proof "cloud/aws-ecs/template.yaml" "cfn-lint; schema only" cfn-lint --non-zero-exit-code warning --regions eu-central-1 -- "$cloud/aws-ecs/template.yaml"
else
  skip "cloud/aws-ecs/template.yaml" "cfn-lint" "cfn-lint is missing"
fi
if need_pip check-jsonschema check-jsonschema==0.39.0; then
  schema() { check-jsonschema "$@"; }
  proof "cloud/aws-ecs/task-definition.json" "own schema of what matters" schema --schemafile "$here/task-definition.schema.json" "$cloud/aws-ecs/task-definition.json"
  proof "cloud/gcp-cloud-run/service.yaml" "own schema of what matters" schema --schemafile "$here/cloud-run.schema.json" "$cloud/gcp-cloud-run/service.yaml"
  proof "cloud/gcp-cloud-run/cloudbuild.yaml" "schema only" schema --builtin-schema vendor.cloudbuild "$cloud/gcp-cloud-run/cloudbuild.yaml"
  proof "cloud/azure/containerapp.yaml" "own schema of what matters" schema --schemafile "$here/container-app.schema.json" "$cloud/azure/containerapp.yaml"
  proof "cloud/azure/container-instance.yaml" "own schema of what matters" schema --schemafile "$here/container-instance.schema.json" "$cloud/azure/container-instance.yaml"
  proof "cloud/heroku/app.json" "own schema of what matters" schema --schemafile "$here/heroku-app.schema.json" "$cloud/heroku/app.json"
else
  skip "cloud/{aws-ecs,gcp-cloud-run,azure,heroku}" "schemas" "check-jsonschema is missing"
fi

# Bicep's own compiler cannot be had: its grammar is parsed, and that every name that is used is declared is looked at.
_pycep() {
  [ -x "$cache/venv-pycep/bin/python" ] && "$cache/venv-pycep/bin/python" -c 'import pycep' 2>/dev/null && return 0
  python3 -m venv "$cache/venv-pycep" && "$cache/venv-pycep/bin/pip" install --quiet --disable-pip-version-check pycep-parser==0.7.1 >>"$cache/pip.log" 2>&1
}
if locked _pycep; then
  proof "cloud/azure/main.bicep" "parsed; syntax only" "$cache/venv-pycep/bin/python" -B "$here/bicep.py" "$cloud/azure/main.bicep"
else
  skip "cloud/azure/main.bicep" "parsed" "pycep-parser is missing"
fi

# What the templates hand to the proxy, it accepts: environment and files as they are, with secrets made up.
accepted() {
  local proxy
  proxy="$(binary)"
  mkdir -p "$rig/secrets"/{oidc,root,redis}
  "$proxy" keygen | tee "$rig/secrets/root/key" "$rig/secrets/root-key" >"$rig/root"
  echo a-secret-of-sixteen-bytes-or-more | tee "$rig/secrets/oidc/client-secret" "$rig/secrets/oidc-client-secret" >/dev/null
  echo redis | tee "$rig/secrets/redis/password" "$rig/secrets/redis-password" >/dev/null
  certificate "$rig/tls" localhost
  mv "$rig/tls/fullchain.pem" "$rig/tls/tls.crt" && mv "$rig/tls/privkey.pem" "$rig/tls/tls.key"
  for platform in gcp-cloud-run azure; do
    sed "s|/secrets/|$rig/secrets/|" "$cloud/$platform/config.yaml" >"$rig/$platform.yaml"
  done
  PYTHONDONTWRITEBYTECODE=1 "$cache/venv-check-jsonschema/bin/python" "$here/environments.py" "$cloud" "$rig" "$proxy" "$(cat "$rig/root")"
}
if [ -x "$cache/venv-check-jsonschema/bin/python" ] && { ! quick || [ -x "${PROXY_BINARY:-$VERIFY_ROOT/target/debug/mcp-oidc-proxy}" ]; }; then
  proof "environment and files of every platform" "check-config" accepted
else
  skip "environment and files of every platform" "check-config" "the binary or check-jsonschema is missing"
fi

# Secrets stand on no command line: the commands that are printed run with tools that write down how they were called.
told_by_stdin() {
  local tool
  mkdir -p "$rig/told"
  for tool in aws jq az; do
    printf '#!/usr/bin/env bash\nprintf "%%s\\n" "%s $*" >>"%s/told/calls"\n' "$tool" "$rig" >"$rig/told/$tool"
  done
  echo "cat >>'$rig/told/kept'; echo >>'$rig/told/kept'; echo arn:aws:secretsmanager:x" >>"$rig/told/aws"
  echo "exec $(command -v jq) \"\$@\"" >>"$rig/told/jq"
  # az: what it was given, and for whom it lies there.
  printf 'file="${@: -1}"; stat -c "%%a" "$file" "$(dirname "$file")" >>"%s"; cp "$file" "%s"; echo "$file" >"%s"; exit "${AZ_CODE:-0}"\n' \
    "$rig/told/modes" "$rig/told/instance.yaml" "$rig/told/place" >>"$rig/told/az"
  printf '#!/bin/sh\necho canary-root-key\n' >"$rig/told/mcp-oidc-proxy"
  chmod +x "$rig/told"/{aws,jq,az,mcp-oidc-proxy}
}
none_told() { cat "$rig/told/calls" && [ -s "$rig/told/calls" ] && ! grep canary "$rig/told/calls"; }
page="$VERIFY_ROOT/deployments/verify/tools/page.py"
secrets_of_aws() {
  told_by_stdin
  printf 'canary-secret\ncanary-redis\n' | PATH="$rig/told:$PATH" bash -euo pipefail -c "$("$page" docs/cloud/aws-ecs.md Before)"
  none_told
  [ "$(jq -c . "$rig/told/kept")" = '{"oidc_client_secret":"canary-secret","encryption_key":"canary-root-key","redis_url":"canary-redis"}' ]
  rm "$rig/told/kept" "$rig/told/calls"
  printf 'canary-secret\ncanary-redis\n' | PATH="$rig/told:$PATH" bash -euo pipefail -c "$("$page" docs/cloud/aws-lambda.md Deploy | sed '/^unset/q')"
  none_told
  [ "$(tr '\n' ' ' <"$rig/told/kept")" = 'canary-root-key canary-secret canary-redis ' ]
}
instance() {
  local name folder="$rig/instance" code got
  told_by_stdin
  rm -f "$rig/told"/{calls,modes}
  mkdir -p "$folder"
  for name in config.yaml oidc-client-secret root-key redis-password tls.crt tls.key; do echo "canary-$name" >"$folder/$name"; done
  for code in 0 3; do
    # Whatever the caller's own umask says.
    got=0
    (umask 022 && AZ_CODE=$code PATH="$rig/told:$PATH" bash -x "$cloud/azure/instance.sh" RG "$folder") 2>"$rig/told/trace" || got=$?
    [ "$got" = "$code" ]
    [ ! -e "$(cat "$rig/told/place")" ] && [ ! -e "$(dirname "$(cat "$rig/told/place")")" ]
    [ "$(sort -u "$rig/told/modes" | tr '\n' ' ')" = '600 700 ' ]
  done
  none_told && ! grep canary- "$rig/told/trace" || return 1
  ! grep _BASE64 "$rig/told/instance.yaml" || return 1
  for name in config.yaml oidc-client-secret root-key redis-password tls.crt tls.key; do
    [ "$(sed -n "s/^ *$name: //p" "$rig/told/instance.yaml" | base64 -d)" = "canary-$name" ]
  done
  # A folder without all of them: nothing is created.
  rm "$folder/root-key" "$rig/told/calls"
  ! PATH="$rig/told:$PATH" "$cloud/azure/instance.sh" RG "$folder" || return 1
  [ ! -e "$rig/told/calls" ]
}
if need_deb jq jq; then
  proof "docs/cloud/aws-{ecs,lambda}.md: secrets" "commands as printed; on no command line" secrets_of_aws
else
  skip "docs/cloud/aws-{ecs,lambda}.md: secrets" "commands as printed" "jq is missing"
fi
proof "cloud/azure/instance.sh" "run with a stand-in for az; what stays" instance

bash -n "$cloud/azure/instance.sh"
for script in "$cloud"/*/deploy.sh "$cloud/lib.sh"; do bash -n "$script"; done

if quick; then skip "cloud/*/deploy.sh" "run with stand-ins of the clouds' tools" "not in the quick run"; exit 0; fi

clouds_begin
proof "cloud/aws-ecs/deploy.sh" "run with a stand-in for aws" deploys "$cloud/aws-ecs/deploy.sh" proxy {}
# The first deployment, before anybody knows where to point the name; then bad ones over it, with other parameters.
first_stack() {
  local ecs="$cloud/aws-ecs/deploy.sh" before
  stand() { PATH="$rig/stand-ins:$PATH" "$ecs" proxy "$@"; }
  stack() { python3 -c 'import json, sys; stack = json.load(open(sys.argv[1]))["stack"]; stack.pop("template") if len(sys.argv) == 2 else 0; print(json.dumps(stack, sort_keys=True))' "$CLOUD_STATE" "$@"; }
  nothing() { echo '{"revisions": {}, "traffic": {}, "newest": "", "calls": []}' >"$CLOUD_STATE"; }
  nothing
  stand image:1 "PublicUrl=$CLOUD_NAMELESS" TargetHost=good.internal TargetPort=3000 2>&1 | tee "$rig/first"
  grep -q "point the name of $CLOUD_NAMELESS at 127.0.0.1" "$rig/first"
  [ "$(stack)" = "{\"parameters\": {\"Image\": \"image:1\", \"PublicUrl\": \"$CLOUD_NAMELESS\", \"TargetHost\": \"good.internal\", \"TargetPort\": \"3000\"}}" ]
  # Template and all parameters come back, not the image alone.
  sed -i 's/"template": "AWS/"template": "older AWS/' "$CLOUD_STATE"
  before="$(stack with-template)"
  [[ "$before" == *'older AWS'* ]]
  ! stand image:bad TargetHost=wrong.internal TargetPort=1 || return 1
  [ "$(stack with-template)" = "$before" ]
  grep -q TargetHost=wrong.internal "$CLOUD_STATE"
  # The same image with a parameter that makes it bad counts as a deployment too.
  stand image:1 TargetHost=better.internal
  [[ "$(stack)" == *better.internal* ]]
  # There is nothing to go back to.
  nothing
  ! stand image:bad "PublicUrl=$CLOUD_NAMELESS" 2>"$rig/first" || return 1
  grep -q 'the first deployment is not healthy' "$rig/first"
  sed -i 's/"stack": {/"stack": {"status": "ROLLBACK_COMPLETE", /' "$CLOUD_STATE"
  ! stand image:1 2>"$rig/first" || return 1
  grep -q 'delete-stack --stack-name proxy' "$rig/first"
}
proof "cloud/aws-ecs/deploy.sh" "first deployment; parameters go back" first_stack
proof "cloud/gcp-cloud-run/deploy.sh" "run with a stand-in for gcloud" deploys "$cloud/gcp-cloud-run/deploy.sh" proxy europe-west3 {}
proof "cloud/azure/deploy.sh" "run with a stand-in for az" deploys "$cloud/azure/deploy.sh" proxy group {}
proof "cloud/heroku/deploy.sh" "run with stand-ins for heroku and its git" deploys "$cloud/heroku/deploy.sh" proxy HEAD

# On the host it is deployments/deploy.sh that deploys, which check 45 and the booted system of check 15 try; here, the way there.
over_ssh() {
  local version
  export UNIT_STATE="$rig/unit" UNIT_FOLDER="$rig/unit/run" PYTHONDONTWRITEBYTECODE=1 TMPDIR="$rig/tmp" TAMPER=''
  mkdir -p "$rig/host" "$UNIT_FOLDER" "$TMPDIR" "$rig/hosts-own"
  ln -sf "$VERIFY_ROOT/deployments/verify/rig/systemctl.py" "$rig/hosts-own/systemctl"
  printf '#!/bin/sh\nexec "$@"\n' >"$rig/hosts-own/sudo"
  # What it finds of what was sent: for whom it lies there, and whether somebody who changes it is seen.
  cat >"$rig/hosts-own/ssh" <<'SSH'
#!/usr/bin/env bash
set -o pipefail
sh -c "$2" | while read -r line; do
  echo "$line"
  [ -f "$line/archive" ] || continue
  stat -c '%a' "$line" >>"$UNIT_STATE/modes"
  [ -z "$TAMPER" ] || echo tampered >>"$line/archive"
done
SSH
  chmod +x "$rig/hosts-own"/{ssh,sudo}
  for version in 1 2 bad refused; do
    { cat "$(readlink -f "$(command -v sleep)")" && printf '\nimage:%s' "$version"; } >"$rig/host/$version"
    chmod +x "$rig/host/$version"
  done
  cp "$rig/host/1" "$rig/host/mcp-oidc-proxy"
  echo "$rig/host/mcp-oidc-proxy --config /etc/mcp-proxy/config.yaml" >"$UNIT_STATE/command"
  PATH="$rig/hosts-own:$PATH" systemctl restart mcp-oidc-proxy
  put() { LOCAL_READY="$CLOUD_PUBLIC/ready" PATH="$rig/hosts-own:$PATH" "$cloud/vps/deploy.sh" somebody@host "$rig/host/$1"; }
  put 2
  cmp "$rig/host/mcp-oidc-proxy" "$rig/host/2"
  for version in bad refused; do
    ! put "$version" || return 1
    cmp "$rig/host/mcp-oidc-proxy" "$rig/host/2"
  done
  ! TAMPER=1 put 1 2>"$rig/tampered" || return 1
  grep -i 'checksum' "$rig/tampered"
  cmp "$rig/host/mcp-oidc-proxy" "$rig/host/2"
  [ "$(has_traffic)" = image:2 ]
  [ "$(sort -u "$UNIT_STATE/modes")" = 700 ]
  # Nothing is left, here or there.
  [ -z "$(find "$TMPDIR" -mindepth 1; ls -d /run/mcp-oidc-proxy-deploy.* 2>/dev/null)" ]
}
proof "cloud/vps/deploy.sh" "run with a stand-in for ssh" over_ssh
# What runs of it ends with this check.
cat "$rig/unit/pid" >>"$rig/pids" 2>/dev/null || true
