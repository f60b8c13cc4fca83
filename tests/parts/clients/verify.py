"""Verifies what the proxy tells a backend about a caller, as docs/backends.md shows it.

verify.py PROXY AUDIENCE TOKEN: prints one line of JSON, the claims or why they are refused.
"""

import json
import sys

PROXY, AUDIENCE, TOKEN = sys.argv[1:]

# --- as documented
import jwt  # PyJWT[crypto]

keys = jwt.PyJWKClient(f"{PROXY}/oauth2/assertion/jwks")


def caller(token: str) -> dict:
    if jwt.get_unverified_header(token).get("typ") != "identity-assertion+jwt":
        raise jwt.InvalidTokenError("a token of another kind")
    return jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token),
        algorithms=["ES256", "EdDSA"],
        audience=AUDIENCE,
        issuer=PROXY,
        leeway=5,
        options={"require": ["exp", "iat", "sub", "idp_iss"]},
    )


# --- end

try:
    print(json.dumps({"claims": caller(TOKEN)}))
except jwt.PyJWTError as error:
    print(json.dumps({"refused": str(error)}))
