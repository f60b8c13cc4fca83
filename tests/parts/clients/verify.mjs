// Verifies what the proxy tells a backend about a caller, as docs/backends.md shows it.
//
// verify.mjs PROXY AUDIENCE TOKEN: prints one line of JSON, the claims or why they are refused.

const [PROXY, AUDIENCE, TOKEN] = process.argv.slice(2);

// --- as documented
import { createRemoteJWKSet, jwtVerify } from "jose";

const keys = createRemoteJWKSet(new URL(`${PROXY}/oauth2/assertion/jwks`));

export async function caller(token) {
  const { payload } = await jwtVerify(token, keys, {
    typ: "identity-assertion+jwt",
    algorithms: ["ES256", "EdDSA"],
    audience: AUDIENCE,
    issuer: PROXY,
    clockTolerance: 5,
    requiredClaims: ["exp", "iat", "sub", "idp_iss"],
  });
  return payload;
}
// --- end

try {
  console.log(JSON.stringify({ claims: await caller(TOKEN) }));
} catch (error) {
  console.log(JSON.stringify({ refused: String(error) }));
}
