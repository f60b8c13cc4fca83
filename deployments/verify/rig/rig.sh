# Servers for checks: started on loopback, ended with the check that started them.
# shellcheck shell=bash
# Sourced after lib.sh. `rig` is a scratch folder of this check.
rig="$(mktemp -d "${TMPDIR:-/tmp}/verify-$VERIFY_CHECK.XXXXXX")"
chmod 0755 "$rig"
: >"$rig/pids"

# Ends what was started, last first, and removes the scratch folder.
rig_end() {
  local pid
  while read -r pid; do kill "$pid" 2>/dev/null || true; done < <(tac "$rig/pids")
  while read -r pid; do
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$pid" 2>/dev/null || true
  done <"$rig/pids"
  [ -n "${RIG_KEEP:-}" ] || rm -rf "$rig"
}
trap rig_end EXIT

# start NAME COMMAND...: in the background, its output in $rig/NAME.log. The pid is left in $started.
start() {
  local name="$1"
  shift
  "$@" </dev/null >>"$rig/$name.log" 2>&1 &
  started=$!
  echo "$started" >>"$rig/pids"
}

# stop PID: ends one and waits until it is gone.
stop() {
  kill "$1" 2>/dev/null || true
  for _ in $(seq 200); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  echo "process $1 did not end" >&2
  return 1
}

# until_ok SECONDS COMMAND...: tries until the command succeeds, and says so when it never does.
until_ok() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || { echo "never came true: $*" >&2; return 1; }
    sleep 0.2
  done
}

# certificate FOLDER HOST...: a key and a certificate for it, signed by a CA of this check ($rig/ca.pem).
certificate() {
  local folder="$1" host="$2" names
  names="$(printf ',DNS:%s' "${@:2}")"
  mkdir -p "$folder"
  if [ ! -f "$rig/ca.pem" ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=check CA" \
      -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
      -keyout "$rig/ca.key" -out "$rig/ca.pem" 2>/dev/null
  fi
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$host" \
    -keyout "$folder/privkey.pem" -out "$folder/request.pem" 2>/dev/null
  openssl x509 -req -in "$folder/request.pem" -CA "$rig/ca.pem" -CAkey "$rig/ca.key" -CAcreateserial -days 20 \
    -extfile <(printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' "${names#,}") \
    -out "$folder/cert.pem" 2>/dev/null
  cat "$folder/cert.pem" "$rig/ca.pem" >"$folder/fullchain.pem"
}
