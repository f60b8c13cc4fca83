# Backup and restore: a rehearsal with a real Redis and a person who is signed in, and everything that must be refused.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
source "$VERIFY_ROOT/deployments/verify/rig/rig.sh"
backup="$VERIFY_ROOT/deployments/backup"

units() {
  # In a copy that names scripts which are there, for verify looks for them.
  mkdir -p "$rig/units"
  for unit in "$backup"/systemd/*; do
    sed "s|/usr/local/lib/mcp-oidc-proxy/backup|$backup|" "$unit" >"$rig/units/${unit##*/}"
  done
  local said
  said="$(SYSTEMD_UNIT_PATH="$rig/units:" systemd-analyze verify "$rig/units"/* 2>&1)"
  # It only warns about what it does not know.
  [ -z "$said" ] || { echo "$said"; return 1; }
  systemd-analyze security --offline=true --threshold=15 "$rig/units/mcp-oidc-proxy-backup.service"
}
if have systemd-analyze; then
  proof "backup/systemd" "systemd-analyze verify, security ≤ 1.5" units
else
  skip "backup/systemd" "systemd-analyze" "systemd is missing"
fi
scripts_parse() {
  bash -n "$backup/backup.sh"
  bash -n "$backup/restore.sh"
  "$backup/backup.sh" --help | grep -- --include-secrets >/dev/null
  "$backup/restore.sh" --help | grep -- --max-age >/dev/null
  PYTHONDONTWRITEBYTECODE=1 python3 "$backup/redis_keys.py" --help >/dev/null
}
# Which of the repository's own files have secrets written in them is known.
secrets_are_seen() {
  PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$backup" python3 - <<'PY'
import glob

from inline_secrets import suspicious

for line in ('secret_keys: ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]', "client_secret: hunter2",
             "url: redis://:pw@host/0", "    headers: { X-Key: abc }", 'password: "x"', "TOKEN=abc", "bearer: abc",
             "-----BEGIN EC PRIVATE KEY-----"):
    assert list(suspicious([line])), line
assert list(suspicious(["secret_keys:", "  - abc"]))
assert list(suspicious(open("configs/demo.yaml").read().splitlines()))
for file in [f"configs/{name}.yaml" for name in ("base", "staging", "production", "reference")] + glob.glob("deployments/cloud/vps/*.yaml"):
    assert not list(suspicious(open(file).read().splitlines())), file
PY
}
proof "backup/inline_secrets.py" "run over examples" secrets_are_seen
proof "backup/*.sh" "parsed, --help" scripts_parse

if quick; then skip "backup, restore" "rehearsed with a real Redis" "not in the quick run"; exit 0; fi

proxy="$(binary)"
export MCP_PROXY_BINARY="$proxy"
port="$(free_port)" metrics="$(free_port)" idp="$(free_port)" backend="$(free_port)"
etc="$rig/etc"
vault="$rig/vault" # Where secrets are kept for good, in place of a vault.
archives="$rig/archives"
password=redis-canary-8d1f2c

# redis NAME: an empty server of its own.
redis() {
  redis_port="$(free_port)"
  mkdir -p "$rig/$1"
  start "$1" redis-server --port "$redis_port" --bind 127.0.0.1 --requirepass "$password" --dir "$rig/$1" --save '' --appendonly no
  redis_pid="$started"
  export REDIS_URL="redis://127.0.0.1:$redis_port/0" REDIS_PASSWORD="$password"
  until_ok 20 redis_cli ping
}
redis_cli() { REDISCLI_AUTH="$password" redis-cli -p "$redis_port" "$@" 2>/dev/null; }
serve() {
  REDIS_URL="$REDIS_URL" start proxy "$proxy" --config "$etc/config.yaml"
  proxy_pid="$started"
  until_ok 20 curl -fs "http://127.0.0.1:$metrics/health/ready"
}
# who JAR: what the backend is told about the browser with this cookie jar.
who() {
  curl -s --noproxy '*' --max-time 10 --cookie "$1" "http://localhost:$port/whoami" |
    python3 -c 'import json, sys; print(json.load(sys.stdin).get("x-forwarded-user", "nobody"))' 2>/dev/null || echo nobody
}

prepare() {
  mkdir -p "$etc/secrets" "$etc/tls" "$vault"
  "$proxy" keygen >"$etc/secrets/root-key"
  echo oidc-canary-1b7a90cc5e >"$etc/secrets/oidc-client-secret"
  certificate "$etc/tls" localhost
  rm -f "$etc/tls/request.pem"
  echo 'a page' >"$etc/notice.txt"
  echo 'SOME_TOKEN=environment-canary-77' >"$etc/environment"
  # A layer with a secret written in it.
  printf 'backends:\n  - name: pages\n    upstream: "http://127.0.0.1:%s"\n    headers: { X-Key: inline-canary-41 }\n' "$backend" >"$etc/inline.yaml"
  cat >"$etc/config.yaml" <<CONF
version: 1
public_url: http://localhost:$port
listen: [{ address: "127.0.0.1:$port" }]
secret_keys: [{ file: $etc/secrets/root-key }]
oidc:
  issuer: http://127.0.0.1:$idp
  client_id: mcp-proxy
  client_secret: { file: $etc/secrets/oidc-client-secret }
backends: [{ name: pages, upstream: "http://127.0.0.1:$backend" }]
routes: [{ path: /*, kind: http, backend: pages, allow: { any_user: true } }]
sessions: { store: redis, redis: { url: { env: REDIS_URL }, password: { env: REDIS_PASSWORD } } }
metrics: { address: "127.0.0.1:$metrics" }
CONF
  start idp python3 "$VERIFY_ROOT/deployments/verify/rig/idp.py" "$idp" "$rig"
  start backend python3 "$VERIFY_ROOT/deployments/verify/rig/backend.py" "$backend"
  until_ok 20 curl -fs "http://127.0.0.1:$idp/jwks"
  cp -R "$etc/secrets" "$etc/tls" "$etc/environment" "$etc/inline.yaml" "$vault/"
}

rehearsal() {
  redis first
  serve
  # Somebody signs in.
  curl -fsS --noproxy '*' --location --max-redirs 8 --cookie-jar "$rig/jar" --cookie "$rig/jar" -o "$rig/landed" \
    "http://localhost:$port/oauth2/start?rd=/whoami"
  [ "$(who "$rig/jar")" = ann ]
  [ "$(who /dev/null)" = nobody ]

  archive="$("$backup/backup.sh" --config "$etc" --output "$archives" --redis | tail -n 1)"
  echo "$archive" >"$rig/archive"
  # SCAN, and never KEYS.
  redis_cli info commandstats | grep '^cmdstat_scan:' >/dev/null
  ! redis_cli info commandstats | grep '^cmdstat_keys:' >/dev/null || return 1

  # All is lost: the process, Redis with what it knew, the configuration and its secrets.
  stop "$proxy_pid"
  stop "$redis_pid"
  rm -rf "$etc" "$rig/first"
  redis second

  # What would come of it without a restore: the proxy is there again, and nobody is signed in.
  local began=$SECONDS
  "$backup/restore.sh" "$archive" --config "$etc" 2>"$rig/told"
  grep -q 'bring these back.*secrets/root-key' "$rig/told"
  cp -R "$vault/." "$etc/"
  serve
  [ "$(who "$rig/jar")" = nobody ]
  stop "$proxy_pid"
  redis_cli flushall
  # With it.
  "$backup/restore.sh" "$archive" --no-config --redis
  serve
  [ "$(who "$rig/jar")" = ann ]
  echo "all was back after $((SECONDS - began)) s"
  # What was in force is what was restored.
  diff <(cd "$etc" && find . -type f | sort) <(cd "$vault" && { find . -type f; echo ./config.yaml; echo ./notice.txt; } | sort)
  [ "$(stat -c %a "$etc/config.yaml")" = 640 ]
  declare -p redis_port REDIS_URL REDIS_PASSWORD | sed 's/^declare -[-x]* /declare -g /' >"$rig/state"
  # Keys end when they would have ended: no later than a day after sign-in.
  local key left
  key="$(redis_cli --scan --pattern 'mcp:session:*' | head -n 1)"
  left="$(redis_cli pttl "$key")"
  [ "$left" -gt 0 ] && [ "$left" -le 90000000 ]
}

refusals() {
  local archive other
  archive="$(cat "$rig/archive")"
  no() { if "$@" >"$rig/out" 2>&1; then cat "$rig/out"; echo "was not refused: $*"; return 1; fi; }
  # No secret is in the archive, by name or by value.
  mkdir -p "$rig/open" && tar -xzf "$archive" -C "$rig/open"
  no grep -rlE 'canary' "$rig/open"
  no grep -rl "$(cat "$vault/secrets/root-key")" "$rig/open"
  no grep -rl 'PRIVATE KEY' "$rig/open"
  [ ! -e "$rig/open/backup/config/environment" ] && [ ! -e "$rig/open/backup/config/inline.yaml" ]
  [ -e "$rig/open/backup/config/tls/fullchain.pem" ] && [ -e "$rig/open/backup/config/config.yaml" ]
  [ "$(stat -c %a "$archive")" = 600 ]
  # Secrets in plain.
  no "$backup/backup.sh" --config "$etc" --output "$archives" --include-secrets
  # An archive that was changed, or whose checksum is missing.
  mkdir -p "$rig/bad" && cp "$archive" "$archive.sha256" "$rig/bad/"
  other="$rig/bad/${archive##*/}"
  printf x >>"$other"
  no "$backup/restore.sh" "$other" --config "$rig/nowhere"
  rm "$other.sha256"
  no "$backup/restore.sh" "$other" --config "$rig/nowhere"
  [ ! -e "$rig/nowhere" ]
  # One file in it changed, and the checksum outside made anew.
  echo '# changed' >>"$rig/open/backup/config/config.yaml"
  tar -C "$rig/open" -czf "$other" backup && (cd "$rig/bad" && sha256sum "${other##*/}" >"${other##*/}.sha256")
  no "$backup/restore.sh" "$other" --config "$rig/nowhere"
  # A link in it.
  ln -s /etc/passwd "$rig/open/backup/config/link"
  tar -C "$rig/open" -czf "$other" backup && (cd "$rig/bad" && sha256sum "${other##*/}" >"${other##*/}.sha256")
  no "$backup/restore.sh" "$other" --config "$rig/nowhere"
  grep -q links "$rig/out"
  # Sessions from an archive that is too old; signing keys are taken from it all the same.
  no "$backup/restore.sh" "$archive" --no-config --redis --max-age 0
  grep -q 'would live again' "$rig/out"
  "$backup/restore.sh" "$archive" --no-config --redis --max-age 0 --only install | grep '"left out"' >/dev/null
  # Redis away: no half archive.
  local before
  before="$(find "$archives" -type f | wc -l)"
  no env REDIS_URL="redis://127.0.0.1:$(free_port)/0" "$backup/backup.sh" --config "$etc" --output "$archives" --redis
  [ "$(find "$archives" -type f | wc -l)" = "$before" ]
  # A file or a folder that cannot be read is a hole in the backup, and no secret.
  unreadable
  forged
  # What is in Redis is newer than the archive and stays.
  "$backup/restore.sh" "$archive" --no-config --redis | grep '"kept"' >/dev/null
  # Retention.
  for _ in 1 2 3; do "$backup/backup.sh" --config "$etc" --output "$archives" --keep 2 >/dev/null; done
  [ "$(find "$archives" -name '*.tar.gz' | wc -l)" = 2 ] && [ "$(find "$archives" -name '*.sha256' | wc -l)" = 2 ]
}

# forged: archives with what backup.sh never writes, at the begin of a list that is too long to be read at once.
forged() {
  local at="$rig/forged" what
  mkdir -p "$at/backup"
  echo x >"$at/beside"
  (cd "$at/backup" && seq -f 'a-file-whose-name-is-not-short-%g' 20000 | xargs touch)
  for what in 'beside:files outside of backup/' 'backup/../beside:paths with .. in them'; do
    tar -czPf "$at/archive.tar.gz" --transform "s,^beside$,${what%%:*}," -C "$at" beside backup
    (cd "$at" && sha256sum archive.tar.gz >archive.tar.gz.sha256)
    no "$backup/restore.sh" "$at/archive.tar.gz" --check
    grep -q "${what#*:}" "$rig/out"
  done
}

# unreadable: as somebody who is not root, with what belongs to somebody else in the folder.
unreadable() {
  local at="$rig/theirs" as=() kept
  if [ "$(id -u)" = 0 ]; then as=(setpriv --reuid 65534 --regid 65534 --clear-groups); fi
  # The scripts and the program where this user reaches them.
  mkdir -p "$at/tools" "$at/etc/layers" "$at/etc/secrets" "$at/out"
  cp "$backup"/*.sh "$backup"/*.py "$at/tools/"
  printf 'version: 1\n' | tee "$at/etc/config.yaml" >"$at/etc/layers/one.yaml"
  echo 'X=1' >"$at/etc/environment"
  chmod 0755 "$at" "$at/tools" "$at/tools"/* "$at/etc"
  [ ${#as[@]} = 0 ] || chown 65534:65534 "$at/out"
  take() { "${as[@]}" env MCP_PROXY_BINARY=/bin/false "$at/tools/backup.sh" --config "$at/etc" --output "$at/out"; }
  # What is secret by its name need not be readable.
  chmod 0000 "$at/etc/environment" "$at/etc/secrets"
  take >"$rig/out" 2>"$rig/told"
  kept="$(tail -n 1 "$rig/out")"
  tar -tzf "$kept" | grep 'config/layers/one.yaml' >/dev/null
  tar -xOzf "$kept" backup/left-out | tr '\n' ' ' | grep 'environment secrets/ ' >/dev/null
  rm -f "$at/out"/*
  chmod 0000 "$at/etc/config.yaml"
  no take
  grep -q 'config.yaml cannot be read' "$rig/out"
  chmod 0644 "$at/etc/config.yaml"
  chmod 0000 "$at/etc/layers"
  no take
  grep -q 'not all of .* can be read' "$rig/out"
  chmod 0755 "$at/etc/layers"
  [ -z "$(find "$at/out" -type f)" ]
}

# with_secrets RECIPIENT RESTORE-ARGUMENTS…: everything into an encrypted archive and back.
with_secrets() {
  local archive recipient="$1"
  shift
  archive="$("$backup/backup.sh" --config "$etc" --output "$rig/sealed" --redis --include-secrets --encrypt "$recipient" | tail -n 1)"
  if tar -tzf "$archive" >/dev/null 2>&1; then echo "the archive is not encrypted"; return 1; fi
  "$backup/restore.sh" "$archive" --config "$rig/back" "$@"
  diff -r "$etc" "$rig/back"
  rm -rf "$rig/back"
}
with_age() {
  age-keygen -o "$rig/age.key" 2>/dev/null
  with_secrets "age:$(age-keygen -y "$rig/age.key")" --identity "$rig/age.key"
}
with_gpg() {
  export GNUPGHOME="$rig/gnupg"
  mkdir -m 0700 "$GNUPGHOME"
  gpg --batch --quiet --passphrase '' --quick-generate-key backup@example.com default default never
  with_secrets gpg:backup@example.com
  gpgconf --kill all
}

# To an object store, and from there back.
with_s3() {
  local moto archive
  moto="$(free_port)"
  start moto moto_server -H 127.0.0.1 -p "$moto"
  export AWS_ENDPOINT_URL="http://127.0.0.1:$moto" AWS_ACCESS_KEY_ID=check AWS_SECRET_ACCESS_KEY=check AWS_DEFAULT_REGION=eu-west-1
  until_ok 40 curl -fs "http://127.0.0.1:$moto/moto-api/"
  aws s3 mb s3://backups
  archive="$("$backup/backup.sh" --config "$etc" --output "$rig/local" --s3 s3://backups/proxy | tail -n 1)"
  mkdir -p "$rig/fetched"
  aws s3 cp --recursive --only-show-errors s3://backups/proxy/ "$rig/fetched/"
  "$backup/restore.sh" "$rig/fetched/${archive##*/}" --check
  cmp "$archive" "$rig/fetched/${archive##*/}"
}

if need_deb redis-server redis-server && have redis-cli; then
  prepare
  proof "backup/{backup,restore}.sh" "run: sessions survive the loss of all" rehearsal
  # shellcheck source=/dev/null
  if [ -f "$rig/state" ]; then
    source "$rig/state"
    export REDIS_URL REDIS_PASSWORD
    proof "backup/{backup,restore}.sh" "run: what must be refused, is" refusals
    if need_deb age age; then
      proof "backup/backup.sh --encrypt" "run: age" with_age
    else
      skip "backup/backup.sh --encrypt" "run: age" "age is missing"
    fi
    if need_deb gpg gpg; then
      proof "backup/backup.sh --encrypt" "run: gpg" with_gpg
    else
      skip "backup/backup.sh --encrypt" "run: gpg" "gpg is missing"
    fi
    if need_pip aws awscli==1.46.3 && need_pip moto_server 'moto[server]==5.2.5'; then
      proof "backup/backup.sh --s3" "run: moto" with_s3
    else
      skip "backup/backup.sh --s3" "run: moto" "aws or moto is missing"
    fi
  fi
else
  skip "backup/{backup,restore}.sh" "run" "redis-server is missing"
fi
