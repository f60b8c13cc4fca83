#!/usr/bin/env bash
# Looks for the secrets of a recorded test run (tests/it/harness/record.rs) in what proxies wrote during it: log, access
# records, audit logs, metrics, spans. Prints what was looked through; fails when one is found, or when nothing was.
set -euo pipefail
record="${1:?usage: $0 FOLDER}"
[ -s "$record/secrets" ] || { echo "canaries: no secrets were recorded in $record" >&2; exit 1; }
# Each kind has to be there, or the search would prove nothing.
for kind in proxy.log access.log binary.log metrics.txt spans.bin; do
  [ -s "$record/$kind" ] || { echo "canaries: $record/$kind is empty" >&2; exit 1; }
done
mapfile -t audits < <(find "$record" -name 'audit-*.jsonl*' -size +0)
[ "${#audits[@]}" -gt 0 ] || { echo "canaries: there are no audit logs in $record" >&2; exit 1; }
files=("$record"/{proxy.log,access.log,binary.log,metrics.txt,spans.bin} "${audits[@]}")

# A search that finds nothing at all would look like success.
LC_ALL=C grep -qF planted-canary-of-the-log "$record/proxy.log" ||
  { echo "canaries: the planted text was not found" >&2; exit 1; }

found="$(LC_ALL=C grep -aoFf "$record/secrets" "${files[@]}" | sort | uniq -c | sort -rn | head -n 50 || true)"
size="$(cat "${files[@]}" | wc -c)"
printf 'canaries: %s secrets, looked for in %s files, %s bytes\n' \
  "$(wc -l <"$record/secrets")" "${#files[@]}" "$size"
if [ -n "$found" ]; then
  printf 'canaries: FOUND\n%s\n' "$found" >&2
  exit 1
fi
