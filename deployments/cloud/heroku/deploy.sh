#!/usr/bin/env bash
# Pushes a revision to Heroku, looks whether it is healthy, and rolls back when it is not.
#
#   deploy.sh APP [GIT_REVISION]
#
#   PUBLIC_URL   where to ask (default: the app's PUBLIC_URL variable)
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# = 1 ] || [ $# = 2 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
app="$1" revision="${2:-HEAD}"
needs heroku git curl

release() { heroku releases --app "$app" --json | python3 -c 'import json, sys; all = json.load(sys.stdin); print(all[0]["version"] if all else "")'; }

# Heroku looks for these at the top; the commit that has them there is made without touching the working tree.
index="$(mktemp)"
trap 'rm -f "$index"' EXIT
export GIT_INDEX_FILE="$index"
git read-tree "$revision"
for file in Procfile app.json heroku.yml Dockerfile; do
  git update-index --add --cacheinfo "100644,$(git hash-object -w "$here/$file"),$file"
done
commit="$(git -c user.name=deploy -c user.email=deploy@localhost commit-tree "$(git write-tree)" -p "$revision" -m "Deploy $revision")"
unset GIT_INDEX_FILE

before="$(release)"
say "release $before is there; pushing $commit"
git push --force "https://git.heroku.com/$app.git" "$commit:refs/heads/main"
public="${PUBLIC_URL:-$(heroku config:get PUBLIC_URL --app "$app")}"
if healthy "$public"; then
  say "release $(release) serves"
  exit 0
fi
[ -n "$before" ] || die "the first release is not healthy; see: heroku logs --app $app"
heroku rollback "v$before" --app "$app"
healthy "$public" || die "v$before is not healthy either; see: heroku logs --app $app"
die "the new release was not healthy, v$before serves again"
