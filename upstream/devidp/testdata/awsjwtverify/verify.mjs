// Verifies tokens as a service on AWS's own library would. Standard input: {pool, client,
// jwks, tokens: {name: {use, token}}}; standard output: {name: "ok" or why not}.
import { readFileSync } from "node:fs";
import { CognitoJwtVerifier } from "aws-jwt-verify";

const { pool, client, jwks, tokens } = JSON.parse(readFileSync(0, "utf8"));
const verdicts = {};
for (const [name, { use, token }] of Object.entries(tokens)) {
  const verifier = CognitoJwtVerifier.create({ userPoolId: pool, clientId: client, tokenUse: use });
  verifier.cacheJwks(jwks);
  try {
    verifier.verifySync(token);
    verdicts[name] = "ok";
  } catch (error) {
    verdicts[name] = error.constructor.name;
  }
}
console.log(JSON.stringify(verdicts));
