# The image: made of nothing but the binary, and run as a container engine would, but by runc.
#
#   PROXY_STATIC_BINARY   the static binary to put into it (default: built now, with fat LTO: minutes)
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

name="container image"
if quick; then skip "$name" run "not in the quick run"; exit 0; fi
if [ "$(id -u)" != 0 ]; then skip "$name" run "needs root, for namespaces"; exit 0; fi
for pair in buildah:buildah runc:runc skopeo:skopeo ip:iproute2 readelf:binutils; do
  need_deb "${pair%%:*}" "${pair##*:}" || { skip "$name" run "${pair%%:*} is missing"; exit 0; }
done
need_pip yamllint yamllint==1.38.0 || { skip "$name" run "yamllint's YAML reader is missing"; exit 0; }
python="$(sed -n '1s/^#! *//p' "$(command -v yamllint)")"
if ! tests/parts/setup.sh >"$VERIFY_LOGS/parts.log" 2>&1; then skip "$name" run "tests/parts/setup.sh failed"; exit 0; fi

work="$(mktemp -d)"
chmod 0755 "$work"
netns="mcp-image-$$"
clean() {
  ip netns delete "$netns" 2>/dev/null || true
  rm -rf "$work"
}
trap clean EXIT
# Neither overlay nor user namespaces are needed.
export IMAGE_OPTIONS="--storage-driver vfs --root $work/storage --runroot $work/run" BUILD_OPTIONS="--isolation chroot"
export SOURCE_DATE_EPOCH=1700000000
read -ra buildah <<<"buildah $IMAGE_OPTIONS"

make_it() {
  if [ -n "${PROXY_STATIC_BINARY:-}" ]; then
    deployments/docker/image.sh --binary "$PROXY_STATIC_BINARY" --tag verify:1 --archive "$work/1.tar"
  else
    deployments/docker/image.sh --build --tag verify:1 --archive "$work/1.tar"
  fi
  python3 deployments/verify/container/bundle.py "$work/1.tar" "$work/image"
  # OCI's format has no place for it; the image itself is in Docker's.
  "${buildah[@]}" inspect --type image verify:1 |
    python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)["Docker"]["config"]["Healthcheck"]))' >"$work/image/healthcheck.json"
  cat "$work/image/healthcheck.json"
}
proof "$name" "built by buildah from scratch" make_it
[ -s "$work/image/healthcheck.json" ] || exit 0

# Only what is meant to be in it, owned by root but for the two folders of the proxy.
contents() {
  (cd "$work/image/rootfs" && find . -mindepth 1 \( -uid 65532 -printf 'proxy %P\n' \) -o \( -type f -size +0 -printf 'file %P\n' \)) | sort >"$work/contents"
  diff "$work/contents" - <<'END'
file etc/group
file etc/mcp-proxy/config.yaml
file etc/nsswitch.conf
file etc/passwd
file etc/ssl/certs/ca-certificates.crt
file usr/local/bin/mcp-oidc-proxy
proxy run/mcp-proxy
proxy var/lib/mcp-proxy
END
  diff <(cat "$work/image/rootfs/etc/mcp-proxy/config.yaml") <(echo "version: 1")
  # Nothing may be changed by anybody but root.
  [ -z "$(cd "$work/image/rootfs" && find . ! -type l ! -uid 65532 -perm /022)" ]
  python3 - "$work/image" <<'END'
import json, sys
image = json.load(open(sys.argv[1] + "/image.json"))
config = image["config"]
assert config["User"] == "65532:65532", config
assert config["Entrypoint"] == ["/usr/local/bin/mcp-oidc-proxy"] and config["Cmd"] == ["--config", "/etc/mcp-proxy/config.yaml"], config
assert config["StopSignal"] == "SIGTERM" and set(config["ExposedPorts"]) == {"8080/tcp", "9090/tcp"}, config
labels = config["Labels"]
for name in ("title", "description", "licenses", "source", "version", "revision"):
    assert labels.get("org.opencontainers.image." + name), name
check = json.load(open(sys.argv[1] + "/healthcheck.json"))
assert check["Test"][1:3] == ["/usr/local/bin/mcp-oidc-proxy", "healthcheck"], check
print(json.dumps(config, indent=1))
END
}
proof "$name" "contents, owner, labels, health check" contents

# Binary, authorities and the rest, as they are pulled.
size() {
  python3 - "$work/image" <<'END'
import json, sys
size = json.load(open(sys.argv[1] + "/image.json"))["compressed"]
print(f"{size / 1e6:.1f} MB compressed")
sys.exit(size > 25e6)
END
}
proof "$name" "at most 25 MB compressed" size
grep -h 'MB compressed' "$VERIFY_LOGS"/*at-most-25-MB* || true

again() {
  deployments/docker/image.sh --binary "$work/image/rootfs/usr/local/bin/mcp-oidc-proxy" --tag verify:2 --archive "$work/2.tar"
  diff <(skopeo inspect --format '{{.Digest}}' "oci-archive:$work/1.tar") <(skopeo inspect --format '{{.Digest}}' "oci-archive:$work/2.tar")
}
proof "$name" "made twice, same digest" again

# A binary that wants a loader is refused before anybody wonders about "no such file".
refused() { ! deployments/docker/image.sh --binary "$(command -v ls)" --tag verify:3 2>"$work/refused" && grep -q 'is not static' "$work/refused"; }
proof "image.sh" "refuses what is not static" refused

in_namespace() {
  ip netns delete "$netns" 2>/dev/null || true
  ip netns add "$netns"
  nsenter --net="/run/netns/$netns" ip link set lo up
  nsenter --net="/run/netns/$netns" timeout 1200 "$@"
}
stage=deployments/verify/container
proof "$name" "run by runc: environment alone, drain, kill" in_namespace "$python" -B "$stage/image.py" environment "$work/image"
proof "$name" "run by runc: mounted file, sign-in, tool call" in_namespace "$python" -B "$stage/image.py" file "$work/image"

mkdir "$work/docker"
cp deployments/docker/env.sh "$work/docker/" && cp deployments/.env.example "$work/"
"$work/docker/env.sh" >/dev/null
proof "docker-compose.yml" "its services run, Keycloak sign-in, tool call" in_namespace "$python" -B "$stage/composed.py" "$work/docker" "$work/image"

# What is in it, crate by crate: the binary carries the list (cargo auditable).
sbom() {
  syft scan --quiet "oci-archive:$work/1.tar" --output "cyclonedx-json=$VERIFY_LOGS/sbom.cdx.json" --output syft-table
  python3 - "$VERIFY_LOGS/sbom.cdx.json" <<'END'
import json, sys
names = {each["name"]: each.get("version") for each in json.load(open(sys.argv[1]))["components"]}
locked = open("Cargo.lock").read()
print(len(names), "components")
for name in ("rustls", "hyper", "tokio", "aws-lc-rs"):
    assert name in names, f"{name} is not found: was the binary built with `cargo auditable`, as image.sh --build does?"
    assert f'name = "{name}"\nversion = "{names[name]}"' in locked, f"{name} {names.get(name)} is not the locked one"
END
}
if need_go syft github.com/anchore/syft/cmd/syft@v1.44.0; then
  proof "$name" "SBOM by syft" sbom
else
  skip "$name" "SBOM by syft" "syft is missing"
fi
