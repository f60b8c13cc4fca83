#!/usr/bin/env bash
# Makes the zip that a Lambda function is made from: the program, named bootstrap, and a config.yaml beside it if you have one.
#
#   deployments/cloud/aws-lambda/build.sh [--arch arm64|x86_64] [--config FILE] [--profile NAME] [--out FILE]
#
# The same sources give the same zip. CARGO names another cargo, as in CARGO="cargo-zigbuild" to build for an architecture
# that this machine has no linker for.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

usage() { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
arch=arm64 config='' profile=dist out=''
while (($#)); do
  case "$1" in
    --arch) arch="${2:?}"; shift 2 ;;
    --config) config="${2:?}"; shift 2 ;;
    --profile) profile="${2:?}"; shift 2 ;;
    --out) out="${2:?}"; shift 2 ;;
    *) usage ;;
  esac
done
case "$arch" in
  arm64) target=aarch64-unknown-linux-gnu ;;
  x86_64) target=x86_64-unknown-linux-gnu ;;
  *) usage ;;
esac
out="${out:-target/lambda/mcp-oidc-proxy-$arch.zip}"

if [ -n "$config" ] && [ ! -f "$config" ]; then
  echo "build.sh: there is no $config" >&2
  exit 2
fi
command -v rustup >/dev/null && rustup target add "$target" >/dev/null
# Static, so that it does not matter what the platform's own libraries are.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" "${CARGO:-cargo}" build --locked --profile "$profile" --target "$target" \
  --no-default-features --features lambda,aws,otel --bin mcp-oidc-proxy-lambda
folder="$profile"
[ "$profile" != dev ] || folder=debug

mkdir -p "$(dirname "$out")"
python3 - "$out" "target/$target/$folder/mcp-oidc-proxy-lambda" "$config" <<'PYTHON'
import sys, zipfile
out, program, config = sys.argv[1:]
with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    for name, path, mode in [("bootstrap", program, 0o755)] + ([("config.yaml", config, 0o644)] if config else []):
        # Always the same moment, so that the zip says nothing of when it was made.
        entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        with open(path, "rb") as file:
            archive.writestr(entry, file.read())
PYTHON
printf '%s  %s\n' "$(sha256sum "$out" | cut -d' ' -f1)" "$out"
