#!/usr/bin/env bash
# Creates the instance of container-instance.yaml, with configuration, secrets and certificate from the files of a folder:
# config.yaml, oidc-client-secret, root-key, redis-password, tls.crt and tls.key. None of them stands on a command line,
# and what is handed to az lies in memory, for this user alone, until az has ended.
#
#   instance.sh RESOURCE_GROUP FOLDER [TEMPLATE]
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$here/../lib.sh"
[ $# -ge 2 ] || { sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" >&2; exit 2; }
needs az python3
umask 077
memory=/dev/shm
[ -w "$memory" ] || memory="${TMPDIR:-/tmp}"
filled="$(mktemp -d "$memory/instance.XXXXXX")"
trap 'rm -rf "$filled"' EXIT
python3 - "$2" "${3:-$here/container-instance.yaml}" >"$filled/instance.yaml" <<'PYTHON'
import base64, pathlib, re, sys
folder, template = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
# NAME: THAT_NAME_BASE64, in the volumes of the template.
def fill(found):
    return f"{found[1]}: {base64.b64encode((folder / found[1]).read_bytes()).decode()}"
print(re.sub(r"([a-z.-]+): [A-Z_]+_BASE64$", fill, template.read_text(), flags=re.M), end="")
PYTHON
az container create --resource-group "$1" --file "$filled/instance.yaml"
