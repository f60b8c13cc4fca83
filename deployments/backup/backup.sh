#!/usr/bin/env bash
# Backs up the configuration, and with --redis the sessions and grants, into one file with a checksum.
#
#   backup.sh [--config DIR] [--output DIR] [--redis] [--include-secrets] [--encrypt age:RECIPIENT|gpg:RECIPIENT]
#             [--keep N] [--s3 s3://BUCKET/PREFIX]
#
#   --config DIR        default /etc/mcp-proxy
#   --output DIR        default /var/lib/mcp-proxy-backup
#   --redis             save the proxy's keys of REDIS_URL (REDIS_USERNAME, REDIS_PASSWORD, REDIS_CA_FILE) too
#   --include-secrets   with secrets; only together with --encrypt
#   --encrypt           for a public key: age:age1… , or gpg:KEY-ID-OR-ADDRESS
#   --keep N            archives that stay in the output folder (default 14); 0 keeps all
#   --s3                copy it there with the aws command as well; let a lifecycle rule of the bucket remove old ones
#
# Left out unless --include-secrets: private keys, files in secrets/ folders, environment files, and every file with
# a secret written in it. The archive names what was left out, so that a restore can say what is missing. Anything else
# that cannot be read ends the backup.
# The last line of the output is the path of the archive. Exit code 1: nothing was written.
set -euo pipefail
umask 077
config=/etc/mcp-proxy output=/var/lib/mcp-proxy-backup redis='' secrets='' encrypt='' keep=14 s3=''
binary="${MCP_PROXY_BINARY:-mcp-oidc-proxy}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
die() { echo "backup: $*" >&2; exit 1; }
usage() { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}"; }

while [ $# -gt 0 ]; do
  case "$1" in
    --config) config="${2:?}"; shift ;;
    --output) output="${2:?}"; shift ;;
    --redis) redis=1 ;;
    --include-secrets) secrets=1 ;;
    --encrypt) encrypt="${2:?}"; shift ;;
    --keep) keep="${2:?}"; shift ;;
    --s3) s3="${2:?}"; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
config="${config%/}"
[ -d "$config" ] || die "there is no folder $config; name the configuration's folder with --config"
[[ "$keep" =~ ^[0-9]+$ ]] || die "--keep takes a number"
case "$encrypt" in
  '' | age:?* | gpg:?*) ;;
  *) die "--encrypt takes age:RECIPIENT or gpg:RECIPIENT" ;;
esac
[ -z "$secrets" ] || [ -n "$encrypt" ] || die "--include-secrets needs --encrypt, so that no secret lies in an archive in plain"
command -v python3 >/dev/null || die "python3 is needed"
[ -z "$s3" ] || command -v aws >/dev/null || die "--s3 needs the aws command"
[ -z "$redis" ] || [ -n "${REDIS_URL:-}" ] || die "--redis needs REDIS_URL"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
mkdir -p "$output" "$work/backup/config"

# is_secret_by_name FILE: by its place or its name; such a file is never opened.
is_secret_by_name() {
  case "/${1#"$config"/}" in
    */secrets/* | */credentials/* | *.key | */privkey*.pem | */root-key* | */environment | */.env | *.env | *.environment | *.credential) return 0 ;;
  esac
  return 1
}
# is_secret_inside FILE: by what is written in it; what is no text is left out as well.
is_secret_inside() {
  local code=0
  python3 "$here/inline_secrets.py" "$1" >/dev/null 2>&1 || code=$?
  [ "$code" != 1 ]
}

# Folders of secrets that belong to somebody else are named and not entered, unless secrets are wanted.
closed=()
[ -n "$secrets" ] || closed=(-type d '(' -name secrets -o -name credentials ')' '(' ! -readable -o ! -executable ')' -printf '%p/\0' -prune -o)
find -L "$config" "${closed[@]}" -type f -not -path '*/..*' -print0 >"$work/found" ||
  die "not all of $config can be read by $(id -un) (see above); nothing was written"
sort -z "$work/found" -o "$work/found"

left_out=()
while IFS= read -r -d '' file; do
  name="${file#"$config"/}"
  if [ -z "$secrets" ] && is_secret_by_name "$file"; then
    left_out+=("$name")
    continue
  fi
  # Before it is looked into: what cannot be read is no secret, it is a hole in the backup.
  [ -r "$file" ] || die "$file cannot be read by $(id -un); nothing was written. Give its group the right to read it"
  if [ -z "$secrets" ] && is_secret_inside "$file"; then
    left_out+=("$name")
    continue
  fi
  mkdir -p "$work/backup/config/$(dirname "$name")"
  # Symlinks (certbot, Kubernetes) are followed: what counts is what was read through them.
  cp --dereference --preserve=mode,timestamps "$file" "$work/backup/config/$name"
done <"$work/found"
[ -n "$(find "$work/backup/config" -type f -print -quit)" ] || [ ${#left_out[@]} != 0 ] || die "there is no file in $config; nothing was written"

# The effective configuration without secrets says what was in force, whatever was left out.
for candidate in "$config"/config.yaml "$config"/config.yml; do
  if [ -f "$candidate" ] && ! "$binary" --config "$candidate" print-config >"$work/backup/effective-config.yaml" 2>/dev/null; then
    rm -f "$work/backup/effective-config.yaml"
  fi
done

counts='{}'
if [ -n "$redis" ]; then
  counts="$(python3 "$here/redis_keys.py" save "$work/backup/redis.jsonl" ${REDIS_CA_FILE:+--ca-file "$REDIS_CA_FILE"})" ||
    die "Redis could not be saved; nothing was written"
fi

version="$("$binary" --version 2>/dev/null | awk '{print $2}')" || version=unknown
taken="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
cat >"$work/backup/manifest.json" <<JSON
{
  "format": 1,
  "taken": "$taken",
  "taken_seconds": $(date +%s),
  "host": "$(hostname)",
  "version": "$version",
  "secrets": $([ -n "$secrets" ] && echo true || echo false),
  "redis": $counts
}
JSON
printf '%s\n' ${left_out[@]+"${left_out[@]}"} >"$work/backup/left-out"
(cd "$work/backup" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >"$work/sums" && mv "$work/sums" SHA256SUMS)

name="mcp-proxy-$(hostname)-$(date -u +%Y%m%dT%H%M%SZ)-$$.tar.gz"
tar -C "$work" --owner=0 --group=0 --sort=name -czf "$work/$name" backup
case "$encrypt" in
  age:*) age --encrypt --recipient "${encrypt#age:}" --output "$work/$name.age" "$work/$name" || die "age could not encrypt"; name="$name.age" ;;
  gpg:*)
    gpg --batch --yes --trust-model always --recipient "${encrypt#gpg:}" --output "$work/$name.gpg" --encrypt "$work/$name" ||
      die "gpg could not encrypt"
    name="$name.gpg"
    ;;
esac
(cd "$work" && sha256sum "$name" >"$name.sha256")
# The checksum first, then the archive under its own name by one rename: what is there is whole.
mv "$work/$name.sha256" "$output/$name.sha256"
cp "$work/$name" "$output/.$name.part"
sync "$output/.$name.part"
mv "$output/.$name.part" "$output/$name"

if [ -n "$s3" ]; then
  for file in "$name" "$name.sha256"; do
    aws s3 cp --only-show-errors --sse AES256 "$output/$file" "${s3%/}/$file" || die "$output/$name is there, but could not be copied to $s3"
  done
fi

if [ "$keep" -gt 0 ]; then
  find "$output" -maxdepth 1 -type f -name "mcp-proxy-$(hostname)-*.tar.gz*" ! -name '*.sha256' -printf '%f\n' |
    sort -r | tail -n +$((keep + 1)) | while IFS= read -r old; do
      rm -f -- "$output/$old" "$output/$old.sha256"
      echo "removed $old" >&2
    done
fi
[ ${#left_out[@]} = 0 ] || printf 'left out, because they hold secrets: %s\n' "${left_out[*]}" >&2
echo "$output/$name"
