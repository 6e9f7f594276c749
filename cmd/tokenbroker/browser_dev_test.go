package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// devPage is a SPA on a port of loopback, developed against dev. It reaches the broker by its own host
// name, unless its query names another one.
const devPage = `<!doctype html><title>SPA</title><script>
globalThis.warnings = [];
console.warn = (text) => warnings.push(text);
</script><script type="module">
const base = "http://" + (new URLSearchParams(location.search).get("broker") ?? location.hostname) + ":%[1]s";
const { createClient } = await import(base + "/web/client.js");
globalThis.auth = createClient({ base, api: ["%[2]s"] });
globalThis.outcome = (promise) => promise.then(String, (error) => error.code ?? String(error));
globalThis.who = () => auth.session()?.user.username ?? "nobody";
globalThis.hello = () => outcome(auth.fetch("%[2]s/hello").then((answer) => answer.status));
globalThis.begun = await outcome(auth.start());
globalThis.started = true;
</script>`

func portOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// TestBrowserDevServesASPAOfAnyLoopbackOrigin develops a SPA against dev without any configuration, on
// either name of this machine. A page on one name with the broker on the other gets a warning.
func TestBrowserDevServesASPAOfAnyLoopbackOrigin(t *testing.T) {
	t.Parallel()
	b := startBrowser(t)
	dev := startDev(t)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, devPage, portOf(t, dev.issuer), dev.sample)
	}))
	t.Cleanup(pages.Close)
	visit := func(address string) {
		b.navigate(address)
		b.until("the page has started", "globalThis.started")
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		spa := "http://" + host + ":" + portOf(t, pages.URL) + "/tasks?id=1"
		visit(spa)
		b.want(host+": warnings", "warnings.join()", "")
		b.want(host+": at first", "who()", "nobody")
		b.want(host+": sign-in", "outcome(auth.signIn('admin', 'admin').then(who))", "admin")
		b.want(host+": the sample service", "hello()", "200")
		visit(spa)
		b.want(host+": after a reload", "who()", "admin")
		b.want(host+": refresh", "outcome(auth.refresh().then(who))", "admin")
		b.want(host+": log-off", "outcome(auth.logOff().then(who))", "nobody")

		b.run("globalThis.started = false; auth.login({ provider: 'cognito' })")
		b.until(host+": back from the hosted page", `(() => {
			const form = document.querySelector("form:has([name=username])");
			if (form && !form.sent) {
				form.sent = form.username.value = form.password.value = "ada";
				form.querySelector("button").click();
			}
			return globalThis.started && who() === "ada";
		})()`)
		b.want(host+": where it came back", "location.href", spa)
		b.want(host+": the sample service after the hosted page", "hello()", "200")
		b.want(host+": the second log-off", "outcome(auth.logOff().then(who))", "nobody")

		b.navigate("http://" + host + ":" + portOf(t, dev.issuer) + "/")
		b.until(host+": the demo page", signedOut)
		b.run(submit)
		b.until(host+": the services accept the demo page's token", accepting)
		b.run(click("log-off"))
		b.until(host+": the services refuse the demo page's token", signedOut+" && "+refusing)
	}
	other := "http://localhost:" + portOf(t, pages.URL) + "/?broker=127.0.0.1"
	visit(other)
	b.want("across hosts: start", "begun", "other_host")
	b.want("across hosts: the warning", "String(/base is on 127.0.0.1 and this page on localhost/.test(warnings.join()))", "true")
	b.want("across hosts: sign-in", "outcome(auth.signIn('admin', 'admin'))", "other_host")
	b.want("across hosts: the status", "auth.snapshot().status", "unknown")
	dev.finish(t)
}
