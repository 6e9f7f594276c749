// server.mjs uses client.js where no browser is, as a server that renders pages does. The process
// has to end by itself.
import assert from "node:assert/strict";
import { AuthError, createClient } from "./client.mjs";

for (const base of [undefined, "/", "https://auth.example.com/"]) {
  const asked = [];
  const auth = createClient({ base, api: ["https://api.example.com"], fetch: async (url) => asked.push(url) });
  auth.onChange(() => assert.fail("nothing changes"));
  assert.equal(auth.session(), null);
  assert.equal(await auth.start(), null);
  assert.deepEqual(auth.snapshot(), { status: "unknown", session: null });
  // One process serves many users, so nobody signs in there.
  for (const call of [
    () => auth.signIn("ada", "x"), () => auth.exchange({}), () => auth.exchangeNonce(), () => auth.token(),
    () => auth.refresh(), () => auth.logOff(), () => auth.fetch("https://api.example.com/"),
  ]) {
    await assert.rejects(call(), (error) => error instanceof AuthError && error.code === "no_browser");
  }
  assert.deepEqual(asked, []);
}
