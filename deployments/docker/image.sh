#!/usr/bin/env bash
# Makes the image from a static binary, with whichever builder is there (buildah, docker, podman), and fetches nothing.
#
#   image.sh --build                           builds the static binary first (cargo, profile `dist`; minutes)
#   image.sh --binary FILE                     takes this one, for example a release asset
#   image.sh … --tag NAME[:TAG]                default: mcp-oidc-proxy:<version of the binary>
#   image.sh … --archive FILE                  also writes the image as an OCI archive (buildah or podman)
#
#   SOURCE_DATE_EPOCH   the time of everything in the image (default: of the last commit), so that the same binary
#                       gives the same image
#   CA_BUNDLE           the certificate authorities that go into the image (default: the system's; the binary knows
#                       Mozilla's by itself)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(cd "$here/../.." && pwd)"

fail() { printf 'image: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; }

binary='' tag='' archive='' build=''
while (($#)); do
  case "$1" in
    --build) build=1; shift ;;
    --binary | --tag | --archive) [ $# -ge 2 ] || fail "$1 needs a value"; declare "${1#--}=$2"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

case "$(uname -m)" in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) fail "no image for $(uname -m)" ;; esac
if [ -n "$build" ]; then
  [ -z "$binary" ] || fail "--build and --binary exclude each other"
  target="$(rustc -vV | sed -n 's/^host: //p')"
  # Writes the list of crates into the binary, so that scanners can tell what is in the image.
  command -v cargo-auditable >/dev/null || cargo install cargo-auditable --version 0.7.7 --locked
  # The target has to be named, or the flag would reach procedural macros too, which cannot be static.
  (cd "$root" && RUSTFLAGS='-C target-feature=+crt-static' \
    cargo auditable build --locked --profile dist --target "$target" --bin mcp-oidc-proxy --features aws)
  binary="$(cd "$root" && cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$target/dist/mcp-oidc-proxy"
fi
[ -n "$binary" ] || fail "name a binary, or --build one"
[ -x "$binary" ] || fail "$binary is not there, or cannot be executed"
# An interpreter would be missing in the image, and the error that this gives ("no such file") misleads everybody.
if LC_ALL=C grep -qa -m1 '/lib[0-9]*/ld-linux' "$binary" && LC_ALL=C readelf -l "$binary" 2>/dev/null | grep INTERP >/dev/null; then
  fail "$binary is not static; build it with --build"
fi

said="$("$binary" version --json)"
field() { printf '%s' "$said" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
version="$(field version)" revision="$(field revision)"
[ -n "$version" ] || fail "$binary does not say its version"
[ -n "$tag" ] || tag="mcp-oidc-proxy:$version"
epoch="${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}"

authorities=''
for file in "${CA_BUNDLE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
  if [ -n "$file" ] && [ -r "$file" ]; then authorities="$file"; break; fi
done
[ -n "$authorities" ] || fail "no CA bundle on this machine; name one with CA_BUNDLE"

context="$(mktemp -d)"
trap 'rm -rf "$context"' EXIT
mkdir -p "$context/bin" "$context/empty"
cp -R "$here/rootfs" "$context/rootfs"
# The folders above those that the proxy owns are root's.
mkdir -p "$context/rootfs/run" "$context/rootfs/var/lib"
cp "$here/Dockerfile.prebuilt" "$context/Dockerfile"
cp "$authorities" "$context/ca-certificates.crt"
cp "$binary" "$context/bin/mcp-oidc-proxy-linux-$arch"
# What people may do with these files shall not depend on the umask of whoever builds.
chmod -R u=rwX,go=rX "$context"
chmod 0755 "$context/bin/"*

arguments=(--build-arg "VERSION=$version" --build-arg "REVISION=${revision:-unreleased}" --build-arg "TARGETARCH=$arch" --tag "$tag")
export SOURCE_DATE_EPOCH="$epoch"
if command -v buildah >/dev/null; then
  # The format of Docker has room for the health check, that of OCI has not. IMAGE_OPTIONS: `--storage-driver vfs` and
  # the like, where there is no overlay; BUILD_OPTIONS: `--isolation chroot`, where there are no namespaces.
  read -ra global <<<"${IMAGE_OPTIONS:-}"
  read -ra more <<<"${BUILD_OPTIONS:-}"
  buildah "${global[@]}" bud "${more[@]}" --format docker --identity-label=false --timestamp "$epoch" "${arguments[@]}" "$context"
  [ -z "$archive" ] || { rm -f "$archive" && buildah "${global[@]}" push --format oci "$tag" "oci-archive:$archive:$tag"; }
elif command -v docker >/dev/null; then
  [ -z "$archive" ] || fail "--archive needs buildah or podman"
  docker build "${arguments[@]}" "$context"
elif command -v podman >/dev/null; then
  podman build --format docker --timestamp "$epoch" "${arguments[@]}" "$context"
  [ -z "$archive" ] || { rm -f "$archive" && podman push --format oci "$tag" "oci-archive:$archive:$tag"; }
else
  fail "neither buildah nor docker nor podman is here"
fi
printf 'image: %s (%s, revision %s)\n' "$tag" "$version" "${revision:-unknown}"
