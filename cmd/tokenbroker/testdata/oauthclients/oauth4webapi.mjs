// Runs oauth4webapi against the broker at ISSUER. It checks answers more strictly than other clients: content types, the issuer
// of each answer, and the signatures and claims of id tokens and access tokens.
import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";
import { Browser } from "./browser.mjs";

const issuer = new URL(process.env.ISSUER);
const options = { [oauth.allowInsecureRequests]: true }; // the issuer is http on loopback
const loopback = "http://localhost:50123/callback";
const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options));
const rfc8414 = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...options, algorithm: "oauth2" }));
assert.deepEqual(as, rfc8414);

function done(what) {
  console.log(`ok: ${what}`);
}

// code runs the authorization code flow and returns the checked answer of the token endpoint.
async function code(client, auth, redirectURI, scope, browser, more = {}) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const nonce = oauth.generateRandomNonce();
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: client.client_id, redirect_uri: redirectURI, response_type: "code", scope, state, nonce, ...more,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  });
  const params = oauth.validateAuthResponse(as, client, await browser.authorize(url, redirectURI), state);
  const response = await oauth.authorizationCodeGrantRequest(as, client, auth, params, redirectURI, verifier, options);
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true });
  await oauth.validateApplicationLevelSignature(as, response, options);
  return tokens;
}

// access checks an access token as a resource server does (RFC 9068).
async function access(token, audience) {
  const request = new Request("http://127.0.0.1:8082/hello", { headers: { authorization: `Bearer ${token}` } });
  return oauth.validateJwtAccessToken(as, request, audience, options);
}

const native = { client_id: "demo-native" };
const web = { client_id: "demo-web" };
const service = { client_id: "demo-service" };
const webAuth = oauth.ClientSecretBasic(process.env.WEB_SECRET);
const serviceAuth = oauth.ClientSecretPost(process.env.SERVICE_SECRET);
const person = new Browser();

{
  const tokens = await code(native, oauth.None(), loopback, "openid profile email offline_access hello:read", person);
  const claims = oauth.getValidatedIdTokenClaims(tokens);
  assert.equal((await access(tokens.access_token, "demo-api")).sub, claims.sub);
  const user = await oauth.processUserInfoResponse(as, native, claims.sub, await oauth.userInfoRequest(as, native, tokens.access_token, options));
  assert.equal(user.preferred_username, "ada");
  done("code flow of a public client, with the signatures of both tokens");

  const response = await oauth.refreshTokenGrantRequest(as, native, oauth.None(), tokens.refresh_token, options);
  const renewed = await oauth.processRefreshTokenResponse(as, native, response);
  assert.equal(oauth.getValidatedIdTokenClaims(renewed).sub, claims.sub);
  await oauth.validateApplicationLevelSignature(as, response, options);
  done("refresh");
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, native, oauth.None(), renewed.access_token, options));
  done("revocation by a public client");
}
{
  const tokens = await code(web, webAuth, process.env.WEB_REDIRECT, "openid hello:read", person,
    { max_age: "3600", resource: process.env.RESOURCE, claims: JSON.stringify({ userinfo: { email: null }, id_token: { auth_time: { essential: true } } }) });
  assert.ok((await access(tokens.access_token, process.env.RESOURCE)).aud.includes("demo-api"));
  done("a resource indicator is in the audience");
  const seen = await oauth.processIntrospectionResponse(as, web, await oauth.introspectionRequest(as, web, webAuth, tokens.access_token, options));
  assert.ok(seen.active);
  done("introspection");
}
{
  const machine = await oauth.processClientCredentialsResponse(as, service,
    await oauth.clientCredentialsGrantRequest(as, service, serviceAuth, { scope: "hello:read" }, options));
  assert.equal((await access(machine.access_token, "demo-api")).sub, "demo-service");
  done("client credentials");
  const exchanged = await oauth.processGenericTokenEndpointResponse(as, service, await oauth.genericTokenEndpointRequest(as, service, serviceAuth,
    "urn:ietf:params:oauth:grant-type:token-exchange",
    { subject_token: machine.access_token, subject_token_type: "urn:ietf:params:oauth:token-type:access_token" }, options));
  assert.equal((await access(exchanged.access_token, "demo-api")).sub, "demo-service");
  done("token exchange");
}
{
  const jwk = JSON.parse(process.env.CLIENT_KEY);
  const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  const client = { client_id: "demo-key" };
  await oauth.processClientCredentialsResponse(as, client,
    await oauth.clientCredentialsGrantRequest(as, client, oauth.PrivateKeyJwt({ key, kid: jwk.kid }), { scope: "hello:read" }, options));
  done("private_key_jwt");
}
{
  const wrong = await oauth.clientCredentialsGrantRequest(as, service, oauth.ClientSecretBasic("wrong"), {}, options);
  await assert.rejects(oauth.processClientCredentialsResponse(as, service, wrong));
  assert.equal(wrong.status, 401);
  done("a wrong secret is refused with a challenge");
}
