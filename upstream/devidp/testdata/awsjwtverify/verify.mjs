// Verifies an id and an access token as a service on AWS's own library would.
// Standard input: {"issuer", "client", "jwks", "id", "access"}.
import { readFileSync } from "node:fs";
import { JwtVerifier } from "aws-jwt-verify";
import { validateCognitoJwtFields } from "aws-jwt-verify/cognito-verifier";

const { issuer, client, jwks, id, access } = JSON.parse(readFileSync(0, "utf8"));
const verifier = JwtVerifier.create({ issuer, audience: null, jwksUri: issuer + "/.well-known/jwks.json" });
verifier.cacheJwks(jwks);
for (const [tokenUse, token] of [["id", id], ["access", access]]) {
  const payload = verifier.verifySync(token);
  validateCognitoJwtFields(payload, { tokenUse, clientId: client });
}
console.log("ok");
