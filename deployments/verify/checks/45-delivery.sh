# Pipelines, progressive delivery and the deploy stage. Nothing of a forge or of Flagger's and Argo's controllers can be had
# here: files are checked against schemas and types, queries are parsed and use metrics that exist, deploy.sh is run
# against stand-ins.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
source "$VERIFY_ROOT/deployments/verify/kube-tools.sh"
source "$VERIFY_ROOT/deployments/verify/monitoring/tools.sh"
source "$VERIFY_ROOT/deployments/verify/rig/rig.sh"
source "$VERIFY_ROOT/deployments/verify/rig/clouds.sh"
progressive="$VERIFY_ROOT/deployments/progressive"

if need_go actionlint github.com/rhysd/actionlint/cmd/actionlint@v1.7.12; then
  proof ".github/workflows" "actionlint; not run" actionlint -shellcheck= .github/workflows/*.yml
  # With shellcheck it reads the scripts in the workflows as well.
  if need_deb shellcheck shellcheck; then
    proof ".github/workflows" "actionlint, shellcheck of their scripts" actionlint .github/workflows/*.yml
  else
    skip ".github/workflows" "actionlint, shellcheck of their scripts" "shellcheck is missing"
  fi
else
  for what in "actionlint; not run" "actionlint, shellcheck of their scripts"; do
    skip ".github/workflows" "$what" "actionlint is missing"
  done
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
  # What runs in a container of somebody else's (the image that was just built is ours) is named by its digest; nothing is emulated by a privileged one.
  ! grep -nE 'docker run' .github/workflows/*.yml .gitlab-ci.yml | grep -vE '@sha256:[0-9a-f]{64}( |$)| mcp-oidc-proxy:ci( |$)' || return 1
  ! grep -nE 'privileged|binfmt|setup-qemu' .github/workflows/*.yml .gitlab-ci.yml || return 1
}
# job FILE INDENT NAME: the text of one job.
job() { awk -v indent="$2" -v name="$3" 'index($0, indent name ":") == 1 { on = 1; print; next } on && match($0, "^" indent "[^ #]") { exit } on' "$1"; }
# Both pipelines sign the image, the chart, and every file with the sums of all; both
# release the same files; both deploy only what was signed, where they are told to.
same_release() {
  local file indent token image part
  holds() { grep -qF -- "$2" <<<"$1" || { echo "$file lacks: $2"; return 1; }; }
  for file in .github/workflows/release.yml .gitlab-ci.yml; do
    indent='  ' token='id-token: write' image=image
    [ "$file" != .gitlab-ci.yml ] || indent='' token=SIGSTORE_ID_TOKEN image=join-image
    part="$(job "$file" "$indent" "$image")"
    holds "$part" "$token"
    holds "$part" 'cosign sign '
    holds "$part" 'cosign attest '
    holds "$part" 'imagetools create'
    part="$(job "$file" "$indent" publish)"
    holds "$part" "$token"
    holds "$part" 'cosign sign-blob '
    holds "$part" 'SHA256SUMS'
    [ "$file" = .gitlab-ci.yml ] || part="$(job "$file" "$indent" chart)"
    holds "$part" "$token"
    grep -qE 'cosign sign .*charts/mcp-oidc-proxy@\$digest"' <<<"$part" || { echo "$file does not sign the chart"; return 1; }
    for part in 'mcp-oidc-proxy-lambda-$ARCH.zip' systemd/packages/build.sh 'cargo cyclonedx'; do holds "$(cat "$file")" "$part"; done
  done
  for file in .github/workflows/deploy.yml .gitlab-ci.yml; do
    for part in 'cosign verify ' '--release "$RELEASE"' '--namespace "$NAMESPACE"'; do holds "$(cat "$file")" "$part"; done
  done
}
proof ".github/workflows, .gitlab-ci.yml" "sign and release the same" same_release
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
  # What the Canary names is what the chart makes with the values that its head and docs/upgrades.md ask for.
  flagger_names() {
    grep -q 'autoscaling.enabled=true' "$progressive/flagger/canary.yaml"
    "$helm" template mcp-oidc-proxy "$CHART" --namespace mcp-system --values "$CHART/ci/minimal-values.yaml" \
      --set autoscaling.enabled=true >"$rig/chart.yaml"
    "$cache/venv-check-jsonschema/bin/python" - "$rig/chart.yaml" "$progressive/flagger/canary.yaml" <<'PY'
import sys
import ruamel.yaml
load = lambda path: [each for each in ruamel.yaml.YAML(typ="safe").load_all(open(path, encoding="utf-8")) if each]
made = {(each["kind"], each["metadata"]["name"]): each for each in load(sys.argv[1])}
canary = next(each for each in load(sys.argv[2]) if each["kind"] == "Canary")
for part in ("targetRef", "autoscalerRef"):
    reference = canary["spec"][part]
    assert (reference["kind"], reference["name"]) in made, f"{part}: the chart makes no {reference}"
assert canary["metadata"]["namespace"] == "mcp-system"
service = canary["spec"]["service"]
for end in ("", "-primary", "-canary"):
    assert ("Service", service["name"] + end) not in made, "the Canary's Service is the chart's"
port = made["Deployment", canary["spec"]["targetRef"]["name"]]["spec"]["template"]["spec"]["containers"][0]["ports"]
assert service["targetPort"] in {each["name"] for each in port}, port
PY
  }
  if helm="$(helm_of 4)"; then
    proof "progressive/flagger" "names what the chart makes" flagger_names
  else
    skip "progressive/flagger" "names what the chart makes" "helm is missing"
  fi
  queries() {
    "$cache/venv-check-jsonschema/bin/python" -B "$VERIFY_ROOT/deployments/verify/delivery/queries.py" "$progressive" "$rig/queries.yml" "$VERIFY_ROOT/docs/metrics.md"
  }
  proof "progressive: queries" "catalogued metrics" queries
  if monitoring_tools; then
    proof "progressive: queries" "promtool" promtool check rules "$rig/queries.yml"
  else
    skip "progressive: queries" "promtool" "promtool is missing"
  fi
else
  for what in .github/workflows .gitlab-ci.yml .github/dependabot.yml renovate.json progressive/flagger; do
    skip "$what" "schema" "check-jsonschema is missing"
  done
  skip "progressive/flagger" "names what the chart makes" "check-jsonschema is missing"
  for what in "catalogued metrics" promtool; do skip "progressive: queries" "$what" "check-jsonschema is missing"; done
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
by_compose() {
  # A folder of its own, with an .env that other people's settings are in.
  mkdir -p "$rig/compose"
  cp deployments/docker/docker-compose.yml "$rig/compose/"
  printf 'A=1\nPROXY_IMAGE=image:1\n# B\nPROXY_IMAGE_OTHER=x' >"$rig/compose/.env"
  chmod 0640 "$rig/compose/.env"
  deploys_versions "$deploy" compose --file "$rig/compose/docker-compose.yml" --image image --version {} --url "$CLOUD_PUBLIC"
  # The next `docker compose up` takes what was deployed: the good one, and never one that was taken back.
  diff "$rig/compose/.env" <(printf 'A=1\nPROXY_IMAGE=image:2\n# B\nPROXY_IMAGE_OTHER=x\n')
  [ "$(stat -c %a "$rig/compose/.env")" = 640 ]
  [ ! -e "$rig/compose/.env.new" ]
}
by_helm() { deploys_versions "$deploy" helm --version {} --url "$CLOUD_PUBLIC"; }
# Programs that run, and tell themselves apart by their last line.
by_systemd() {
  local version code=0
  export UNIT_STATE="$rig/unit" UNIT_FOLDER="$rig/unit/run" PYTHONDONTWRITEBYTECODE=1
  mkdir -p "$rig/host/usr/bin" "$rig/host/usr/local/bin" "$UNIT_FOLDER" "$rig/unit-stand-ins"
  ln -sf "$VERIFY_ROOT/deployments/verify/rig/systemctl.py" "$rig/unit-stand-ins/systemctl"
  for version in 1 2 bad late refused; do
    { cat "$(readlink -f "$(command -v sleep)")" && printf '\nimage:%s' "$version"; } >"$rig/host/$version"
    chmod +x "$rig/host/$version"
  done
  # Where a package puts it, and the unit starts it.
  local program="$rig/host/usr/bin/mcp-oidc-proxy"
  cp "$rig/host/1" "$program"
  echo "$program --config /etc/mcp-proxy/config.yaml" >"$UNIT_STATE/command"
  PATH="$rig/unit-stand-ins:$PATH" systemctl restart mcp-oidc-proxy
  runs() { [ "$(tail -n 1 "/proc/$(cat "$UNIT_STATE/pid")/exe" | tr -d '\0')" = "image:$1" ] && cmp "$program" "$rig/host/$1"; }
  put() { PATH="$rig/unit-stand-ins:$PATH" "$deploy" systemd --binary "$rig/host/$1" --url "$CLOUD_PUBLIC"; }
  runs 1
  put 2
  runs 2
  for version in bad late refused; do
    code=0
    put "$version" || code=$?
    [ "$code" = 1 ]
    runs 2
  done
  # A restart that leaves the old process there is no success, although all looks well.
  touch "$UNIT_STATE/stuck"
  code=0
  put 1 2>"$rig/told" || code=$?
  cat "$rig/told"
  [ "$code" = 1 ] && grep -q 'is not .*/host/1' "$rig/told"
  rm "$UNIT_STATE/stuck"
  runs 2
  [ -z "$(ls "$UNIT_FOLDER")" ]
  # A service that is not there.
  : >"$UNIT_STATE/command"
  ! put 1 || return 1
}
proof "deploy.sh compose" "run with a stand-in for docker" by_compose
proof "deploy.sh helm" "run with a stand-in for helm" by_helm
proof "deploy.sh systemd" "run with a stand-in for systemctl" by_systemd
# What runs of it ends with this check.
cat "$rig/unit/pid" >>"$rig/pids" 2>/dev/null || true
