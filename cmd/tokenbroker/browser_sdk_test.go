package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"tokenbroker/api/web"
)

// spa is a page with client.js and a broker at which user is signed in.
type spa struct {
	*httptest.Server
	user atomic.Value // string; "" for no session
}

const spaPage = `<!doctype html><title>SPA</title><script type="module">
import { createClient } from "/web/client.js";
globalThis.createClient = createClient;
globalThis.auth = createClient({ api: [new URLSearchParams(location.search).get("api") ?? location.origin] });
globalThis.events = [];
auth.onChange((session, reason) => events.push((session ? session.user.username : "nobody") + (reason ? ":" + reason : "")));
globalThis.start = () => auth.start().then((session) => session?.user.username ?? "nobody", (error) => error.code);
globalThis.started = start();
started.then(() => document.title = "started");
</script>`

func newSPA(t *testing.T) *spa {
	t.Helper()
	client, err := web.Files.ReadFile("client.js")
	if err != nil {
		t.Fatal(err)
	}
	s := &spa{}
	s.user.Store("")
	answer := func(w http.ResponseWriter, user string) {
		if user == "" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"code": "no_session"}`)
			return
		}
		token := "h." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub": "id of `+user+`"}`)) + ".s"
		_, _ = fmt.Fprintf(w, `{"sub": "id of %s", "access_token": %q, "expires_in": 300, "CSRF_token": "c", "user": {"username": %q}}`, user, token, user)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, spaPage)
	})
	mux.HandleFunc("/web/client.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(client)
	})
	current := func(w http.ResponseWriter, _ *http.Request) { answer(w, s.user.Load().(string)) }
	mux.HandleFunc("/auth/session/", current)
	mux.HandleFunc("/auth/refresh/", current)
	mux.HandleFunc("/auth/sign-in/", func(w http.ResponseWriter, _ *http.Request) {
		s.user.Store("mallory")
		answer(w, "mallory")
	})
	mux.HandleFunc("/auth/login/", func(w http.ResponseWriter, r *http.Request) {
		s.user.Store("grace")
		http.Redirect(w, r, r.FormValue("return_to"), http.StatusFound)
	})
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/go", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("to"), http.StatusTemporaryRedirect)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// echo returns the Authorization header of the request to any page.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Allow-Headers", "Authorization")
	if to := r.FormValue("to"); to != "" && r.Method != http.MethodOptions {
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		return
	}
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_, _ = fmt.Fprintf(w, `{"scheme": %q}`, scheme)
}

func (b *tab) want(what, script, want string) {
	b.t.Helper()
	if got := b.value(script); got != want {
		b.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// A tab does not continue as another user, whether another tab signed in or the browser's cookie was
// replaced before a reload.
func TestBrowserAnotherUserSignsTheTabOut(t *testing.T) {
	t.Parallel()
	first := startBrowser(t)
	s := newSPA(t)
	s.user.Store("ada")
	visit := func(b *tab) {
		b.navigate(s.URL)
		b.until("the page has started", "document.title === 'started'")
	}
	visit(first)
	second := open(first.ctx, t)
	visit(second)
	first.want("start", "started", "ada")
	second.want("start", "started", "ada")

	first.want("a sign-in as another user", "auth.signIn('mallory', 'x').then((s) => s.user.username)", "mallory")
	first.want("its own listeners", "events.join()", "ada,nobody:user_changed,mallory")
	second.until("the other tab heard of it", "events.length > 1")
	second.want("the other tab's listeners", "events.join()", "ada,nobody:user_changed")
	second.want("the other tab's token", "auth.token().catch((error) => error.code)", "no_session")
	second.want("the other tab's session", "String(auth.session())", "null")
	second.want("a start, which takes the new user over", "start()", "mallory")

	s.user.Store("ada") // the cookie was replaced without a message to the tabs
	second.want("a start as another user", "start()", "user_changed")
	second.want("the session after it", "String(auth.session())", "null")
	visit(first)
	first.want("a start after a reload", "started", "user_changed")
	first.want("its listeners", "events.join()", "nobody:user_changed")
	visit(first)
	first.want("another reload", "started", "ada")

	// grace takes the page over while a request of ada's waits for its second try.
	first.run(`globalThis.tries = 0;
	globalThis.slow = createClient({ fetch: async (input, init) => {
		if (input !== "/revoked") return fetch(input, init);
		tries++;
		await fetch("/auth/login/?return_to=/echo");
		await slow.start().catch(() => {});
		await slow.start();
		return new Response('{"code": "token_revoked"}', { status: 401 });
	} })`)
	first.want("a request across the change", "slow.start().then(() => slow.fetch('/revoked')).catch((error) => error.code + ' ' + tries + ' ' + slow.session().user.username)", "user_changed 1 grace")
	s.user.Store("ada")
	first.run("sessionStorage.clear()")
	visit(first)

	first.leave("auth.login()")
	first.until("back from the login", "document.title === 'started' && events.includes('grace')")
	first.want("a login as another user", "started", "grace")

	s.user.Store("")
	visit(first)
	first.want("signed out", "started", "nobody")
	s.user.Store("ada")
	first.want("a sign-in after the start without a user", "start()", "ada")
}

// The tab refreshes at a random time between 55 and 85 % of the token's life, here 300 s.
func TestBrowserRefreshTimeIsRandom(t *testing.T) {
	b := startBrowser(t)
	s := newSPA(t)
	b.navigate(s.URL)
	b.until("the page has started", "document.title === 'started'")
	b.want("the times of 40 tokens", `(async () => {
		const wait = setTimeout, delays = [];
		globalThis.setTimeout = (_, ms) => delays.push(ms);
		const fetch = async () => Response.json({ access_token: "t", expires_in: 300, CSRF_token: "c" });
		for (let i = 0; i < 40; i++) await createClient({ base: "/" + i, fetch }).signIn("ada", "x");
		globalThis.setTimeout = wait;
		const first = Math.min(...delays), last = Math.max(...delays);
		return delays.length === 40 && first > 164e3 && last <= 255e3 && last - first > 30e3 ? "spread" : delays.join();
	})()`, "spread")
}

func TestBrowserFetchSendsTheTokenOnlyToNamedOrigins(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	s := newSPA(t)
	s.user.Store("ada")
	named, other := httptest.NewServer(http.HandlerFunc(echo)), httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(named.Close)
	t.Cleanup(other.Close)
	b.navigate(s.URL + "/?api=" + named.URL)
	b.until("the page has started", "document.title === 'started'")
	b.run("globalThis.named = " + quote(named.URL) + "; globalThis.other = " + quote(other.URL) +
		"; globalThis.sent = (input, init) => auth.fetch(input, init).then((r) => r.json()).then((v) => v.scheme)")
	for _, tt := range []struct{ script, want string }{
		{"sent('/echo')", "Bearer"},
		{"sent('echo')", "Bearer"},
		{"sent(location.origin + '/echo')", "Bearer"},
		{"sent(new URL('/echo', location))", "Bearer"},
		{"sent(new Request('/echo'))", "Bearer"},
		{"sent(named + '/echo')", "Bearer"},
		{"sent(named.toUpperCase().replace('HTTP', 'http') + '/echo')", "Bearer"},
		{"sent(new URL(named))", "Bearer"},
		{"sent(new Request(named, { method: 'POST', body: 'x' }))", "Bearer"},
		{"sent(other + '/echo')", ""},
		{"sent('//' + other.slice(5))", ""},
		{"sent('\\t' + other)", ""},
		{"sent('http:\\\\\\\\' + other.slice(7))", ""},
		{"sent(new URL(other))", ""},
		{"sent(new Request(other))", ""},
		{"sent(named.replace('//', '//x@'))", "TypeError"}, // fetch refuses it
		{"sent(named.replace('127.0.0.1', 'localhost'))", ""},
		{"sent({ toString() { return (this.n = (this.n ?? 0) + 1) > 1 ? other : named } })", "Bearer"},
		{"(() => { const url = new URL(named), answer = sent(url); url.port = new URL(other).port; return answer })()", "Bearer"},
		// Browsers take the header away when a redirect leaves the origin (Fetch, HTTP-redirect fetch).
		{"sent('/go?to=' + location.origin + '/echo')", "Bearer"},
		{"sent('/go?to=' + other)", ""},
		{"sent(named + '?to=' + other)", ""},
		{"sent(other + '?to=' + named)", ""},
		{"(() => { const base = document.head.appendChild(document.createElement('base')); base.href = other; return sent('/echo').finally(() => base.remove()) })()", ""},
	} {
		b.want(tt.script, tt.script+".catch((error) => error.name)", tt.want)
	}
	for _, api := range []string{"*", "https://*.example.com/", "https://api.example.com/v1", "https://api.example.com?x", "blob:https://api.example.com/1", "api.example.com", "null", ""} {
		b.want("api "+api, "(async () => createClient({ api: ["+quote(api)+"] }))().then(() => 'taken', (error) => error.name)", "TypeError")
	}
}
