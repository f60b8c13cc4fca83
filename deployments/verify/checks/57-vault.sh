# Secrets in a real Vault, built from its source; the tests of every change have a stand-in.
# shellcheck shell=bash
source "$VERIFY_ROOT/deployments/verify/lib.sh"
VAULT_VERSION=v1.20.0
if quick; then skip "secrets in Vault $VAULT_VERSION" run "not in the quick run"; exit 0; fi
source "$VERIFY_ROOT/deployments/verify/kube-tools.sh"

vault="$cache/vault-$VAULT_VERSION/vault"
if build_go "$vault" "github.com/hashicorp/vault@$VAULT_VERSION" github.com/hashicorp/vault; then
  proof "secrets in Vault $VAULT_VERSION" "run: logins, renewal, rotation, sealed" \
    timeout 600 python3 -B deployments/verify/container/vault.py "$vault" "$(binary)"
else
  skip "secrets in Vault $VAULT_VERSION" run "Vault could not be built (see $cache/go.log)"
fi
