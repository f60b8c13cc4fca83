#!/usr/bin/env bash
# Restores what backup.sh saved. Nothing is changed before the whole archive was checked.
#
#   restore.sh ARCHIVE [--config DIR] [--redis] [--only KIND]… [--replace] [--max-age HOURS] [--identity FILE] [--check]
#
#   --config DIR      where the configuration goes; default /etc/mcp-proxy. What is there is kept as DIR.before-TIME
#   --no-config       leave the configuration alone
#   --redis           put the proxy's keys into REDIS_URL (REDIS_USERNAME, REDIS_PASSWORD, REDIS_CA_FILE)
#   --only KIND       only keys of this kind: `install` (signing keys), `session`, `login`, `grant`, …
#   --replace         overwrite keys that Redis has already; otherwise what is there is newer and stays
#   --max-age HOURS   how old an archive may be for --redis, unless only `install` is asked for; default 24
#   --identity FILE   the age identity of an .age archive; .gpg archives are opened with gpg's own keys
#   --check           check the archive, say what is in it, and end
#
# Sessions and grants that were ended after the backup would live again. --max-age bounds how long ago that can have
# been; end everything of a person, or of everybody, with `mcp-oidc-proxy sessions revoke`.
set -euo pipefail
umask 077
archive='' config=/etc/mcp-proxy no_config='' redis='' replace='' max_age=24 identity='' check='' only=()
binary="${MCP_PROXY_BINARY:-mcp-oidc-proxy}"
group="${MCP_PROXY_GROUP:-mcp-proxy}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
die() { echo "restore: $*" >&2; exit 1; }
usage() { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}"; }

while [ $# -gt 0 ]; do
  case "$1" in
    --config) config="${2:?}"; shift ;;
    --no-config) no_config=1 ;;
    --redis) redis=1 ;;
    --only) only+=("${2:?}"); shift ;;
    --replace) replace=1 ;;
    --max-age) max_age="${2:?}"; shift ;;
    --identity) identity="${2:?}"; shift ;;
    --check) check=1 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) archive="$1" ;;
  esac
  shift
done
[ -n "$archive" ] || { usage >&2; exit 2; }
[ -f "$archive" ] || die "there is no archive $archive"
[ -f "$archive.sha256" ] || die "$archive.sha256 is missing, so it cannot be told whether the archive is whole"
(cd "$(dirname "$archive")" && sha256sum --quiet --check "$(basename "$archive").sha256") || die "the archive is not what was written; take another"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
case "$archive" in
  *.age) age --decrypt ${identity:+--identity "$identity"} --output "$work/archive.tar.gz" "$archive" || die "age could not open it; name the identity with --identity" ;;
  *.gpg) gpg --batch --quiet --output "$work/archive.tar.gz" --decrypt "$archive" || die "gpg could not open it" ;;
  *) cp "$archive" "$work/archive.tar.gz" ;;
esac
# Only plain files and folders below backup/ are taken.
tar -tvzf "$work/archive.tar.gz" | awk '$1 !~ /^[-d]/ { exit 1 }' || die "the archive has links or devices in it; it was not made by backup.sh"
# In a file first: a reader that stops at its first find would end tar with an error, and the error would pass for none found.
tar -tzf "$work/archive.tar.gz" >"$work/names"
if grep -qvE '^backup/' "$work/names"; then die "the archive has files outside of backup/"; fi
if grep -qE '(^|/)\.\.(/|$)' "$work/names"; then die "the archive has paths with .. in them"; fi
tar -xzf "$work/archive.tar.gz" -C "$work" --no-same-owner
cd "$work/backup"
sha256sum --quiet --check SHA256SUMS || die "a file in the archive is not what was saved"
grep -q '"format": 1,' manifest.json || die "the archive has a format that this script does not know"
cat manifest.json >&2
[ -z "$check" ] || exit 0

taken="$(sed -n 's/.*"taken_seconds": \([0-9]*\).*/\1/p' manifest.json)"
if [ -n "$redis" ]; then
  [ -n "${REDIS_URL:-}" ] || die "--redis needs REDIS_URL"
  [ -f redis.jsonl ] || die "the archive has no Redis keys in it; it was made without --redis"
  if [ "${only[*]-}" != install ] && [ $(($(date +%s) - taken)) -gt $((max_age * 3600)) ]; then
    die "the archive is older than $max_age hours: sessions that were ended since would live again. Restore signing keys alone with --only install, or raise --max-age"
  fi
fi

if [ -z "$no_config" ]; then
  new="$config.restored-$$"
  rm -rf "$new"
  cp -R config "$new"
  # The secrets that the archive does not have, and the host still does.
  missing=()
  while IFS= read -r name; do
    case "/$name/" in // | */../*) continue ;; esac
    if [ -f "$config/$name" ]; then
      mkdir -p "$new/$(dirname "$name")"
      cp -p "$config/$name" "$new/$name"
    else
      missing+=("$name")
    fi
  done <left-out
  # The service reads its configuration and may not change it.
  find "$new" -type d -exec chmod 0750 {} +
  find "$new" -type f -exec chmod 0640 {} +
  if [ "$(id -u)" = 0 ] && getent group "$group" >/dev/null; then chgrp -R "$group" "$new"; fi
  if [ -e "$config" ]; then
    before="$config.before-$(date -u +%Y%m%dT%H%M%SZ)-$$"
    mv "$config" "$before"
    echo "what was there is kept as $before" >&2
  fi
  mv "$new" "$config"
  echo "the configuration is back in $config" >&2
  if [ ${#missing[@]} != 0 ]; then
    printf 'bring these back from where secrets are kept: %s\n' "${missing[*]}" >&2
  elif [ -f "$config/config.yaml" ] && command -v "$binary" >/dev/null; then
    "$binary" --config "$config/config.yaml" check-config >&2 || die "the restored configuration is not accepted; see above"
  fi
fi

if [ -n "$redis" ]; then
  arguments=(load "$work/backup/redis.jsonl" ${REDIS_CA_FILE:+--ca-file "$REDIS_CA_FILE"} ${replace:+--replace})
  for item in ${only[@]+"${only[@]}"}; do arguments+=(--only "$item"); done
  python3 "$here/redis_keys.py" "${arguments[@]}"
fi
