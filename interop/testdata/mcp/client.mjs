// Takes a client of MCP's TypeScript SDK through the whole flow at the MCP server SERVER, whose authorization server is ISSUER:
// node client.mjs PACKAGE, where PACKAGE is that of version 1 or 2 of the SDK. The client has the metadata document at
// CLIENT_DOCUMENT, or else registers itself with the authentication method AUTH_METHOD. For each line "open URL" it reads the
// authorization response from a line of its input.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";

const { SERVER, ISSUER, CLIENT_DOCUMENT, AUTH_METHOD, REDIRECT_URI, PROTOCOL } = process.env;
const name = process.argv[2];
const versionOne = name === "@modelcontextprotocol/sdk";
const sdk = versionOne
  ? { ...await import(`${name}/client/index.js`), ...await import(`${name}/client/streamableHttp.js`), ...await import(`${name}/client/auth.js`) }
  : await import(name);

const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();

async function open(url) {
  console.log(`open ${url}`);
  return new URL((await lines.next()).value);
}

function done(what) {
  console.log(`ok: ${what}`);
}

// Provider keeps what the SDK gives it to keep, in memory.
class Provider {
  clientMetadataUrl = CLIENT_DOCUMENT;
  redirectUrl = REDIRECT_URI;
  clientMetadata = {
    client_name: "An assistant", redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: AUTH_METHOD ?? "none",
    grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
  };
  state() { return this.stateSent = crypto.randomUUID(); }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.kept; }
  saveTokens(tokens) { this.kept = tokens; }
  codeVerifier() { return this.verifier; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  discoveryState() { return this.discovered; }
  saveDiscoveryState(state) { this.discovered = state; }
  redirectToAuthorization(url) { this.authorizationUrl = url; }
  invalidateCredentials(scope) { if (scope !== "verifier" && scope !== "discovery") this.kept = undefined; }
}

const provider = new Provider();

function newSession() {
  return {
    client: new sdk.Client({ name: "interop", version: "1.0.0" }, PROTOCOL ? { versionNegotiation: { mode: { pin: PROTOCOL } } } : {}),
    transport: new sdk.StreamableHTTPClientTransport(new URL(SERVER), { authProvider: provider }),
  };
}

function unauthorized(error) {
  return error instanceof sdk.UnauthorizedError;
}

// The server's 401 leads to its metadata, and that to the authorization server.
const first = newSession();
await assert.rejects(first.client.connect(first.transport), unauthorized);
const { resourceMetadata, authorizationServerMetadata: metadata } = provider.discovered;
assert.equal(new URL(provider.discovered.resourceMetadataUrl).origin, new URL(SERVER).origin);
assert.equal(resourceMetadata.resource, SERVER);
assert.deepEqual(resourceMetadata.authorization_servers, [ISSUER]);
assert.equal(metadata.issuer, ISSUER);
assert.equal(metadata.authorization_response_iss_parameter_supported, true);
done("discovery from a 401");

if (CLIENT_DOCUMENT) {
  assert.equal(metadata.client_id_metadata_document_supported, true);
  assert.equal(provider.client.client_id, CLIENT_DOCUMENT);
  done("a client id that is the URL of a document");
} else {
  assert.match(provider.client.client_id, /^registered-/);
  assert.equal(provider.client.token_endpoint_auth_method, AUTH_METHOD);
  assert.equal(provider.client.client_secret === undefined, AUTH_METHOD === "none");
  done(`registration with the method ${AUTH_METHOD}`);
}

// The code, with PKCE, state and iss.
const asked = provider.authorizationUrl.searchParams;
assert.equal(asked.get("client_id"), provider.client.client_id);
assert.equal(asked.get("code_challenge_method"), "S256");
assert.equal(asked.get("resource"), SERVER);
const answer = (await open(provider.authorizationUrl)).searchParams;
assert.equal(answer.get("state"), provider.stateSent);
assert.equal(answer.get("iss"), ISSUER);
if (versionOne) {
  await first.transport.finishAuth(answer.get("code")); // version 1 does not check iss
} else {
  const mixedUp = new URLSearchParams(answer);
  mixedUp.set("iss", "https://attacker.example");
  await assert.rejects(first.transport.finishAuth(mixedUp), sdk.IssuerMismatchError);
  await first.transport.finishAuth(answer);
}
assert.ok(provider.kept.access_token && provider.kept.refresh_token);
done("code, PKCE and iss");

async function call(client) {
  const result = await client.callTool({ name: "whoami", arguments: {} });
  assert.ok(!result.isError && result.content[0].text, JSON.stringify(result));
}

await first.client.close();
const { client, transport } = newSession();
await client.connect(transport);
assert.ok((await client.listTools()).tools.length > 0);
await call(client);
if (PROTOCOL) assert.equal(transport.protocolVersion, PROTOCOL);
done("a call of a tool");

// A token that the server refuses makes the SDK refresh.
const before = provider.kept;
provider.kept = { ...before, access_token: "refused" };
await call(client);
assert.notEqual(provider.kept.access_token, before.access_token);
assert.notEqual(provider.kept.access_token, "refused");
assert.notEqual(provider.kept.refresh_token, before.refresh_token);
done("a refresh after a 401, with rotation");

// The SDK does not revoke tokens, so this is RFC 7009 by hand.
const { access_token: accessToken, refresh_token: refreshToken } = provider.kept;
const { client_id: id, client_secret: secret } = provider.client;
const form = new URLSearchParams({ token: refreshToken });
const headers = {};
if (AUTH_METHOD === "client_secret_basic") {
  headers.Authorization = `Basic ${btoa(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`)}`;
} else {
  form.set("client_id", id);
  if (secret) form.set("client_secret", secret);
}
const revoked = await fetch(metadata.revocation_endpoint, { method: "POST", body: form, headers });
assert.equal(revoked.status, 200, await revoked.text());

async function status() {
  const response = await fetch(SERVER, { headers: { Authorization: `Bearer ${accessToken}`, Accept: "text/event-stream" } });
  await response.body?.cancel();
  return response.status;
}
while (await status() !== 401); // until the server has received the revocation
provider.authorizationUrl = undefined;
await assert.rejects(call(client), unauthorized);
assert.ok(provider.authorizationUrl, "the SDK did not ask for another authorization");
done("after the revocation a call fails, and the refresh token is refused");

await client.close();
input.close();
