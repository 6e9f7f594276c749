// Runs openid-client against the broker at ISSUER: every flow that it has and the broker offers.
import assert from "node:assert/strict";
import * as client from "openid-client";
import { Browser } from "./browser.mjs";

const issuer = new URL(process.env.ISSUER);
const insecure = { execute: [client.allowInsecureRequests] }; // the issuer is http on loopback
const loopback = "http://127.0.0.1:54321/callback"; // any port: RFC 8252 §7.3
const web = process.env.WEB_REDIRECT;

function done(what) {
  console.log(`ok: ${what}`);
}

async function codeFlow(config, redirectURI, scope, browser, more = {}) {
  const verifier = client.randomPKCECodeVerifier();
  const state = client.randomState();
  const nonce = client.randomNonce();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectURI, scope, state, nonce, ...more,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  });
  const answer = await browser.authorize(url, redirectURI);
  const tokens = await client.authorizationCodeGrant(config, answer, { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true });
  return { tokens, answer, verifier };
}

// A native app: a public client on loopback.
const native = await client.discovery(issuer, "demo-native", undefined, client.None(), insecure);
const person = new Browser();
{
  const { tokens } = await codeFlow(native, loopback, "openid profile email groups offline_access hello:read", person);
  const claims = tokens.claims();
  assert.equal(claims.aud, "demo-native");
  assert.ok(claims.auth_time && claims.sid && claims.amr.includes("pwd"));
  assert.deepEqual(new Set(tokens.scope.split(" ")), new Set("openid profile email groups offline_access hello:read".split(" ")));
  const user = await client.fetchUserInfo(native, tokens.access_token, claims.sub);
  assert.equal(user.preferred_username, "ada");
  done("code, id token and userinfo of a native app");

  const renewed = await client.refreshTokenGrant(native, tokens.refresh_token);
  assert.notEqual(renewed.access_token, tokens.access_token);
  assert.notEqual(renewed.refresh_token, tokens.refresh_token);
  assert.equal(renewed.claims().sub, claims.sub);
  done("refresh with rotation");
  await assert.rejects(client.refreshTokenGrant(native, renewed.refresh_token, { scope: "openid hello:write" }), (e) => e.error === "invalid_scope");
  done("no scope is added at a refresh");

  await client.tokenRevocation(native, renewed.refresh_token, { token_type_hint: "refresh_token" });
  await assert.rejects(client.refreshTokenGrant(native, renewed.refresh_token), (e) => e.error === "invalid_grant");
  await assert.rejects(client.fetchUserInfo(native, renewed.access_token, claims.sub));
  done("revoking a refresh token ends its grant and the grant's access tokens");
}

// A web application: a confidential client, with both forms of its secret.
for (const [name, method] of [["basic", client.ClientSecretBasic], ["post", client.ClientSecretPost]]) {
  const config = await client.discovery(issuer, "demo-web", undefined, method(process.env.WEB_SECRET), insecure);
  const { tokens, answer, verifier } = await codeFlow(config, web, "openid email hello:read", person);
  done(`code with client_secret_${name}, by single sign-on`);
  const introspected = await client.tokenIntrospection(config, tokens.access_token);
  assert.ok(introspected.active && introspected.client_id === "demo-web");
  assert.equal((await client.tokenIntrospection(config, tokens.refresh_token)).active, true);
  done("introspection of an access token and of a refresh token");

  await client.tokenRevocation(config, tokens.access_token);
  assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
  const renewed = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.equal((await client.tokenIntrospection(config, renewed.access_token)).active, true);
  done("revoking an access token ends that token only");

  await assert.rejects(client.authorizationCodeGrant(config, answer, { pkceCodeVerifier: verifier, expectedState: answer.searchParams.get("state") }),
    (e) => e.error === "invalid_grant");
  assert.equal((await client.tokenIntrospection(config, renewed.access_token)).active, false);
  done("a code that is used twice revokes what it gave");
}

// prompt=none answers without a page, and form_post posts.
{
  const config = await client.discovery(issuer, "demo-web", undefined, client.ClientSecretPost(process.env.WEB_SECRET), insecure);
  await codeFlow(config, web, "openid email hello:read", person, { prompt: "none" });
  await assert.rejects(codeFlow(config, web, "openid email hello:read", new Browser(), { prompt: "none" }), (e) => e.error === "login_required");
  done("prompt=none");
  const state = client.randomState();
  const verifier = client.randomPKCECodeVerifier();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: web, scope: "openid", response_mode: "form_post", state,
    code_challenge: await client.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  });
  const page = await person.go(url, web);
  const body = new URLSearchParams([...page.html.matchAll(/<input[^>]*type="hidden"[^>]*>/gi)].map(([tag]) =>
    [tag.match(/name="([^"]*)"/)[1], tag.match(/value="([^"]*)"/)[1].replaceAll("&#43;", "+").replaceAll("&amp;", "&")]));
  const request = new Request(web, { method: "POST", body, headers: { "content-type": "application/x-www-form-urlencoded" } });
  await client.authorizationCodeGrant(config, request, { pkceCodeVerifier: verifier, expectedState: state });
  done("response_mode=form_post");
}

// A machine, and the exchange of its token.
{
  const config = await client.discovery(issuer, "demo-service", undefined, client.ClientSecretBasic(process.env.SERVICE_SECRET), insecure);
  const machine = await client.clientCredentialsGrant(config, { scope: "hello:read" });
  assert.equal(machine.scope, "hello:read");
  assert.equal(machine.refresh_token, undefined);
  done("client credentials");
  const { tokens } = await codeFlow(native, loopback, "openid hello:read", person);
  const exchanged = await client.genericGrantRequest(config, "urn:ietf:params:oauth:grant-type:token-exchange", {
    subject_token: tokens.access_token, subject_token_type: "urn:ietf:params:oauth:token-type:access_token",
    actor_token: machine.access_token, actor_token_type: "urn:ietf:params:oauth:token-type:access_token", scope: "hello:read",
  });
  assert.equal(exchanged.issued_token_type, "urn:ietf:params:oauth:token-type:access_token");
  const seen = await client.tokenIntrospection(config, exchanged.access_token);
  assert.ok(seen.active && seen.sub === tokens.claims().sub && seen.client_id === "demo-service");
  await client.tokenRevocation(native, tokens.refresh_token);
  assert.equal((await client.tokenIntrospection(config, exchanged.access_token)).active, false);
  done("token exchange with an actor; the exchanged token ends with the subject's grant");
}

// A client with a key instead of a secret.
{
  const jwk = JSON.parse(process.env.CLIENT_KEY);
  const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  const config = await client.discovery(issuer, "demo-key", { token_endpoint_auth_signing_alg: "ES256" }, client.PrivateKeyJwt({ key, kid: jwk.kid }), insecure);
  assert.equal((await client.clientCredentialsGrant(config, { scope: "hello:read" })).scope, "hello:read");
  done("private_key_jwt");
}

// A log-off that a client starts: without a page, because the id token is of the browser's session.
{
  const config = await client.discovery(issuer, "demo-web", undefined, client.ClientSecretPost(process.env.WEB_SECRET), insecure);
  const { tokens } = await codeFlow(config, web, "openid hello:read", person);
  const offline = await codeFlow(native, loopback, "openid offline_access hello:read", person);
  const after = process.env.WEB_SIGNED_OUT;
  const url = client.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: after, state: "bye" });
  const { url: end, html } = await person.go(url, after);
  assert.equal(html, undefined, html);
  assert.equal(end.searchParams.get("state"), "bye");
  await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), (e) => e.error === "invalid_grant");
  assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
  await client.refreshTokenGrant(native, offline.tokens.refresh_token);
  done("end session: the session's grants end at once, an offline grant goes on");
}
