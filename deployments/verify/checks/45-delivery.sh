# Pipelines, progressive delivery and the deploy stage. Nothing of a forge or of Flagger's and Argo's controllers can be had
# here: files are checked against schemas and types, queries are parsed and use metrics that exist, deploy.sh is run
# against stand-ins.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
source "$VERIFY_ROOT/deployments/verify/kube-tools.sh"
source "$VERIFY_ROOT/deployments/verify/rig/rig.sh"
source "$VERIFY_ROOT/deployments/verify/rig/clouds.sh"
progressive="$VERIFY_ROOT/deployments/progressive"

if need_go actionlint github.com/rhysd/actionlint/cmd/actionlint@v1.7.12; then
  # With shellcheck it reads the scripts in the workflows as well.
  need_deb shellcheck shellcheck || true
  proof ".github/workflows" "actionlint; not run" actionlint .github/workflows/*.yml
else
  skip ".github/workflows" "actionlint" "actionlint is missing"
fi
# Pinned by commit with the tag behind it, no rights by default, no credentials left in the working tree.
held_tight() {
  local file
  ! grep -hE '^\s*(- )?uses:' .github/workflows/*.yml | grep -vE 'uses: [A-Za-z0-9_.-]+/[A-Za-z0-9_./-]+@[0-9a-f]{40} # v[0-9]+\.[0-9]+\.[0-9]+$' || return 1
  for file in .github/workflows/*.yml; do
    grep -qx 'permissions: {}' "$file" || { echo "$file gives rights to every job"; return 1; }
    [ "$(grep -c 'actions/checkout@' "$file")" = "$(grep -c 'persist-credentials: false' "$file")" ] || { echo "$file leaves credentials behind"; return 1; }
    # What others can choose goes into scripts by variables only.
    ! grep -nE '^\s+run:.*\$\{\{|^\s{10,}[a-z].*\$\{\{ *(github\.(event|head_ref|ref_name)|inputs)\.?' "$file" || return 1
  done
  ! grep -nE 'pull_request_target|workflow_run' .github/workflows/*.yml || return 1
}
proof ".github/workflows" "pins, rights, credentials" held_tight

if need_pip check-jsonschema check-jsonschema==0.39.0; then
  proof ".github/workflows" "schema" check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
  proof ".gitlab-ci.yml" "schema only" check-jsonschema --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci .gitlab-ci.yml
  proof ".github/dependabot.yml" "schema only" check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
  proof "renovate.json" "schema only" check-jsonschema --builtin-schema vendor.renovate renovate.json
  # One object in a file, as the tool wants it.
  flagger() {
    "$cache/venv-check-jsonschema/bin/python" - "$rig" "$progressive"/flagger/*.yaml <<'PY'
import json, sys
import ruamel.yaml
number = 0
for path in sys.argv[2:]:
    for document in ruamel.yaml.YAML(typ="safe").load_all(open(path, encoding="utf-8")):
        json.dump(document, open(f"{sys.argv[1]}/flagger-{number}.json", "w", encoding="utf-8"))
        number += 1
assert number > 5, number
PY
    check-jsonschema --schemafile "$progressive/flagger.schema.json" "$rig"/flagger-*.json
  }
  proof "progressive/flagger" "own schema; not run" flagger
  queries() {
    "$cache/venv-check-jsonschema/bin/python" -B "$VERIFY_ROOT/deployments/verify/delivery/queries.py" "$progressive" "$rig/queries.yml" "$VERIFY_ROOT/docs/metrics.md"
    if have promtool; then promtool check rules "$rig/queries.yml"; fi
  }
  if need_deb promtool prometheus; then
    proof "progressive: queries" "promtool, catalogued metrics" queries
  else
    proof "progressive: queries" "catalogued metrics; promtool is missing" queries
  fi
else
  skip "pipelines and progressive/flagger" "schemas" "check-jsonschema is missing"
fi
if need_schemas; then
  argo() { validate_rendered "1.34" "$progressive"/argo/*.yaml; }
  proof "progressive/argo" "schemas and types; not run" argo
else
  skip "progressive/argo" "schemas and types" "npm or kubernetes-validate is missing"
fi

if quick; then skip "deploy.sh compose, helm, systemd" "run with stand-ins" "not in the quick run"; exit 0; fi

clouds_begin
deploy="$VERIFY_ROOT/deployments/deploy.sh"
by_compose() { deploys_versions "$deploy" compose --image image --version {} --url "$CLOUD_PUBLIC"; }
by_helm() { deploys_versions "$deploy" helm --version {} --url "$CLOUD_PUBLIC"; }
by_systemd() {
  mkdir -p "$rig/host/bin"
  local version
  for version in 1 2 bad late; do
    printf '#!/bin/sh\n[ "$1" != --version ] || echo image:%s\n' "$version" >"$rig/host/$version"
    chmod +x "$rig/host/$version"
  done
  cp "$rig/host/1" "$CLOUD_BINARY"
  deploys_versions "$deploy" systemd --binary "$rig/host/{}" --target "$CLOUD_BINARY" --url "$CLOUD_PUBLIC"
  [ "$("$CLOUD_BINARY" --version)" = image:2 ]
}
proof "deploy.sh compose" "run with a stand-in for docker" by_compose
proof "deploy.sh helm" "run with a stand-in for helm" by_helm
proof "deploy.sh systemd" "run with a stand-in for systemctl" by_systemd
