# Clouds to try deploy scripts on; sourced after rig.sh. See clouds.py.
# shellcheck shell=bash
: "${rig:?}" "${VERIFY_ROOT:?}"

# clouds_begin: starts what answers /ready, and puts the stand-ins in front of the path.
clouds_begin() {
  local public candidate tool
  public="$(free_port)" candidate="$(free_port)"
  certificate "$rig/clouds" localhost mcp.invalid
  REAL_GIT="$(command -v git)"
  export REAL_GIT CLOUD_STATE="$rig/state.json" CLOUD_PUBLIC="https://localhost:$public" CLOUD_CANDIDATE="https://localhost:$candidate"
  # The public address under a name that does not resolve.
  export CLOUD_NAMELESS="https://mcp.invalid:$public"
  export HEALTH_CA="$rig/ca.pem" HEALTH_TRIES=2 HEALTH_PAUSE=0 no_proxy=localhost,mcp.invalid
  export CLOUD_BINARY="$rig/host/bin/mcp-oidc-proxy"
  start clouds python3 "$VERIFY_ROOT/deployments/verify/rig/clouds.py" serve "$public" "$candidate" \
    "$rig/clouds/fullchain.pem" "$rig/clouds/privkey.pem"
  mkdir -p "$rig/stand-ins"
  for tool in aws gcloud az heroku git helm docker systemctl; do
    ln -sf "$VERIFY_ROOT/deployments/verify/rig/clouds.py" "$rig/stand-ins/$tool"
  done
  until_ok 20 curl -fs --cacert "$HEALTH_CA" "$CLOUD_PUBLIC/ready"
}

# has_traffic: the image that answers now.
has_traffic() {
  python3 -c 'import json, sys
now = json.load(open(sys.argv[1]))
print(" ".join(now["revisions"][name] for name, share in now["traffic"].items() if share))' "$CLOUD_STATE"
}

# deploys COMMAND…: with {} for the image. A good one serves afterwards; of a bad one, and of one that fails only when it
# has traffic, nothing is left.
deploys() { _deploys image: "$@"; }
# deploys_versions COMMAND…: the same, with {} for the version.
deploys_versions() { _deploys '' "$@"; }
_deploys() {
  local prefix="$1" version code words
  shift
  rm -f "$CLOUD_STATE"
  for version in 2 bad late; do
    words=()
    for word; do words+=("${word//\{\}/$prefix$version}"); done
    code=0
    NEXT_IMAGE="image:$version" PATH="$rig/stand-ins:$PATH" "${words[@]}" || code=$?
    echo "$version: exit code $code, traffic to $(has_traffic)"
    if [ "$version" = 2 ]; then [ "$code" = 0 ]; else [ "$code" = 1 ]; fi
    [[ "$(has_traffic)" == *2 ]]
  done
}
