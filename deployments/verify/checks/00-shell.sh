# Every shell script of the repository.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"

mapfile -t scripts < <(git ls-files | while read -r file; do
  [[ "$file" == *.sh ]] || head -c 60 "$file" | head -n 1 | grep -E '^#!.*\b(ba)?sh$' >/dev/null || continue
  printf '%s\n' "$file"
done)
if need_deb shellcheck shellcheck; then
  # One at a time: together, with what they source, they take minutes.
  each() { printf '%s\0' "${scripts[@]}" | xargs -0 -n 1 -P 2 shellcheck --external-sources --severity=warning; }
  proof "${#scripts[@]} shell scripts" "shellcheck" each
else
  skip "shell scripts" "shellcheck" "shellcheck is missing"
fi
