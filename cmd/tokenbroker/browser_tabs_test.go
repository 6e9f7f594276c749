package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"

	"tokenbroker/cmd/tokenbroker/internal/devserver"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/upstream/devidp"
)

// ownOrigin is a broker and a SPA at an origin of its own, which imports the SDK from the broker.
type ownOrigin struct {
	broker *served
	spa    string
}

// ownPage has no BroadcastChannel with ?deaf: it is a tab that no message reaches.
const ownPage = `<!doctype html><title>SPA</title><script>
if (location.search.includes("deaf")) delete globalThis.BroadcastChannel;
globalThis.events = [];
globalThis.restored = false;
addEventListener("pageshow", ({ persisted }) => { restored = persisted; });
</script><script type="module">
import { createClient } from "%[1]s/web/client.js";
globalThis.createClient = createClient;
globalThis.auth = createClient({ base: "%[1]s/" });
const name = (session) => session?.user.email?.split("@")[0] ?? session?.user.username ?? "nobody";
globalThis.who = () => name(auth.session());
globalThis.outcome = (promise) => promise.then(() => "ok", (error) => error.code ?? String(error));
auth.onChange((session, reason) => events.push(name(session) + (reason ? ":" + reason : "")));
await outcome(auth.start());
globalThis.started = true;
</script>`

// startOwnOrigin has the local users ada and bob, and the provider corp with a user admin.
func startOwnOrigin(t *testing.T) *ownOrigin {
	t.Helper()
	s := newServed(t, "http")
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, ownPage, s.issuer)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before, the server does not see that the client has left
		<-r.Context().Done()
	})
	pages := httptest.NewServer(mux)
	t.Cleanup(pages.Close)

	var pool http.Handler
	idp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { pool.ServeHTTP(w, r) }))
	t.Cleanup(idp.Close)
	server, err := devidp.New(devidp.Config{
		Issuer: idp.URL + "/" + devserver.Pool, Users: devidp.DevUsers(),
		Clients: []devidp.Client{{ID: devserver.EmulatorClient, RedirectURIs: []string{s.issuer + "/auth/callback/corp/"}, LogoutURIs: []string{s.issuer + "/"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	pool = server.Handler()
	s.append(t, "origins: ["+pages.URL+"]", "providers:",
		"  corp: {kind: oidc, issuer: \""+idp.URL+"/"+devserver.Pool+"\", client_id: "+devserver.EmulatorClient+"}",
		"claims: {attributes: [email]}", "user_object: [username, email]")
	s.start(t)
	s.operate(t, terminal.ExitOK, "users", "add", "ada")
	s.operate(t, terminal.ExitOK, "users", "add", "bob")
	return &ownOrigin{s, pages.URL}
}

func (o *ownOrigin) visit(b *tab, path string) {
	b.t.Helper()
	b.navigate(o.spa + path)
	b.until("the page has started", "globalThis.started && document.readyState === 'complete'")
}

func (b *tab) signIn(user string) {
	b.t.Helper()
	b.want("sign-in as "+user, "outcome(auth.signIn("+quote(user)+", 'correct horse'))", "ok")
	b.want("who has signed in", "who()", user)
}

// signInAtProvider leaves the page for the provider's, and waits to be back. The provider shows its
// form only to a browser that is not signed in there. A page that is left before it is loaded
// has no entry in the browser's history.
func (b *tab) signInAtProvider(options string) {
	b.t.Helper()
	b.leave("auth.login(" + options + ")")
	b.until("back and signed in", `(() => {
		const form = document.querySelector("form:has([name=username])");
		if (form && !form.sent && document.readyState === "complete") {
			form.sent = form.username.value = form.password.value = "admin";
			form.querySelector("button").click();
		}
		return globalThis.started && who() === "admin";
	})()`)
}

func TestBrowserTabsShareASignIn(t *testing.T) {
	t.Parallel()
	first := startBrowser(t)
	o := startOwnOrigin(t)
	o.visit(first, "/")
	second, deaf := open(first.ctx, t), open(first.ctx, t)
	o.visit(second, "/")
	o.visit(deaf, "/?deaf")
	first.signIn("ada")
	second.until("a signed-out tab takes it over", "who() === 'ada'")
	deaf.want("a start", "outcome(auth.start()).then(who)", "ada")

	first.signIn("ada") // a session of its own: the one before has ended
	deaf.want("a refresh of the same user", "outcome(auth.refresh())", "ok")
	second.want("a refresh of the same user", "outcome(auth.refresh())", "ok")

	first.signIn("bob")
	second.until("the other tab is notified", "events.at(-1) === 'nobody:user_changed'")
	second.want("a start takes over", "outcome(auth.start()).then(who)", "bob")
	deaf.want("who was there", "who()", "ada")
	deaf.want("a refresh as another user", "outcome(auth.refresh())", "user_changed")
	deaf.want("its listeners", "events.at(-1)", "nobody:user_changed")
	deaf.want("a start takes over", "outcome(auth.start()).then(who)", "bob")

	first.signIn("ada")
	deaf.want("log-off with the CSRF token before", "outcome(auth.logOff())", "ok")
	deaf.want("a start after it", "outcome(auth.start()).then(who)", "nobody")
	first.want("a refresh after it", "outcome(auth.refresh())", "no_session")

	first.signIn("ada")
	second.until("a tab that was notified of bob takes over", "who() === 'ada'")
	first.signIn("bob")
	second.until("the notification", "events.at(-1) === 'nobody:user_changed'")
	second.want("its log-off", "outcome(auth.logOff())", "ok")
	first.until("the log-off reaches the other tab", "who() === 'nobody'")
	o.broker.finish(t)
}

func TestBrowserReturnFromAProvider(t *testing.T) {
	t.Parallel()
	first := startBrowser(t, chromedp.Flag("enable-features", "NetworkService,NetworkServiceInProcess,BackForwardCache"))
	o := startOwnOrigin(t)
	const path = "/orders/7?tab=2#/part?x=100%"
	o.visit(first, path)
	second := open(first.ctx, t)
	o.visit(second, "/")
	first.want("before", "who()", "nobody")
	first.signInAtProvider("{}")
	first.want("where the login ends", "location.href", o.spa+path)
	second.until("a tab that was open takes it over", "who() === 'admin'")

	first.leave("history.go(-2)") // over the provider's page
	first.until("the page before the login shows the session", "globalThis.started && events.length === 1 && who() === 'admin'")

	// Chromium restores a page only if no message came for it, and if another URL was visited.
	o.visit(second, "/?deaf")
	second.signIn("ada")
	second.signInAtProvider("{ returnTo: '/after?deaf' }")
	second.leave("history.back()")
	second.until("ada's page is restored", "globalThis.restored")
	second.until("it is notified of another user", "events.at(-1) === 'nobody:user_changed'")
	second.want("its log-off", "outcome(auth.logOff())", "ok")
	second.want("a refresh after it", "outcome(auth.refresh())", "no_session")

	o.visit(second, "/?deaf&again")
	second.signInAtProvider("{ returnTo: '/after?deaf' }")
	second.leave("history.back()")
	second.until("the signed-out page is restored", "globalThis.restored")
	second.until("it takes the session over", "who() === 'admin'")
	second.want("a refresh there", "outcome(auth.refresh())", "ok")
	o.broker.finish(t)
}

// A tab whose refresh gets no answer keeps the lock. The others continue after a time that this test shortens.
func TestBrowserStalledTabDoesNotBlockOthers(t *testing.T) {
	t.Parallel()
	first := startBrowser(t)
	o := startOwnOrigin(t)
	o.visit(first, "/")
	second, third := open(first.ctx, t), open(first.ctx, t)
	first.signIn("ada")
	o.visit(second, "/")
	first.run(`globalThis.stalled = createClient({ base: ` + quote(o.broker.issuer) + `, fetch: (url, init) => {
		if (!url.endsWith("/auth/refresh/")) return fetch(url, init);
		globalThis.asked = true;
		return fetch("/hang", init);
	} });
	globalThis.ended = outcome(stalled.start())`)
	first.until("the refresh hangs", "globalThis.asked")
	const hurry = "{ const timeout = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = (ms) => timeout(ms === 5000 ? 50 : ms) }"
	second.run(hurry)
	second.want("a refresh in another tab", "outcome(auth.refresh())", "ok")
	second.want("a sign-in there", "outcome(auth.signIn('ada', 'correct horse')).then(who)", "ada")
	o.visit(third, "/")
	third.want("a new tab", "who()", "ada")
	first.run("stalled.close()")
	first.want("the stalled one, closed", "ended", "closed")
	second.want("the lock is free again", "navigator.locks.query().then(({ held }) => String(held.length))", "0")
	o.broker.finish(t)
}
