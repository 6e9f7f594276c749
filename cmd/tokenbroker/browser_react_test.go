package main

import "testing"

// TestBrowserReact goes through examples/react as a person does: as it is in development, where
// StrictMode renders and runs effects twice, and as it is built.
func TestBrowserReact(t *testing.T) {
	t.Parallel()
	const dir = "../../examples/react"
	packages := npmPackages(dir)
	packages.need(t)
	first := startBrowser(t)
	packages.run(t, dir, nil, "tsc")
	dev := startDev(t)
	page := ""
	for _, mode := range []string{"development", "production"} {
		files := packages.viteBuild(t, dir, append(viteEnv(dev), "NODE_ENV="+mode), nil)
		page = serveSPA(t, files)
		t.Run(mode, func(t *testing.T) {
			first := &tab{t, first.ctx}
			signInAndOut(first, page)
			changeOfUser(first, page, dev.issuer)
		})
	}
	dev.finish(t)
	first.navigate(page)
	first.says("[role=alert]", "does not answer")
	first.until("a way to go on", hasButton("Try again"))
}

// signInAndOut requires that no user is signed in, and signs out at its end.
func signInAndOut(first *tab, page string) {
	first.navigate(page + "/hello")
	first.fillIn("admin", "wrong")
	first.says("[role=alert]", "password is wrong")
	first.fillIn("admin", "admin")
	first.says("h1", "Protected page")
	first.says("header", "admin")
	first.want("the page that was wanted", "location.pathname", "/hello")
	first.want("the sign-ins", asked("/auth/sign-in/"), "2")
	first.press("Call the service")
	first.says("output", "Hello, ")

	second := open(first.ctx, first.t)
	second.navigate(page + "/sign-in")
	second.says("header", "admin")
	second.until("home, as no sign-in is needed", "location.pathname === '/'")
	second.want("questions who is signed in", asked("/auth/session/"), "1")
	second.want("refreshes", asked("/auth/refresh/"), "1")
	second.press("Sign out")
	first.says("h1", "Sign in")
	second.says("header", "Sign in")

	first.atProvider(page, "header strong")
	first.want("the page that was wanted", "location.pathname", "/hello")
	second.says("header", "ada")
	first.press("Sign out")
	second.says("header", "Sign in")

	first.navigate(page + "/hello?tab=2&error=login_state_invalid")
	first.says("[role=alert]", "took too long")
	first.until("the error is out of the URL", "location.href === "+quote(page+"/hello?tab=2"))
	for _, b := range []*tab{first, second} {
		b.want("errors in the console", "errors.join()", "")
	}
}

// changeOfUser has another user sign in behind the page's back.
func changeOfUser(b *tab, page, broker string) {
	b.navigate(page + "/hello")
	b.fillIn("admin", "admin")
	b.press("Call the service")
	b.says("output", "Hello, ")
	b.navigate(broker + "/auth/login/?provider=cognito&return_to=" + page + "/hello")
	b.says("[role=alert]", "Another user has signed in")
	b.want("what is left of the user before", "String(document.querySelector('header, output'))", "null")
	b.press("Continue as that user")
	b.says("header", "ada")
	b.want("the answer to the user before", "document.querySelector('output').textContent", "")
	b.want("errors in the console", "errors.join()", "")
	b.press("Sign out")
	b.says("h1", "Sign in")
}

// viteEnv has the addresses of dev for the build of an application.
func viteEnv(dev *running) []string {
	return []string{"VITE_BROKER=" + dev.issuer, "VITE_SERVICE=" + dev.sample}
}
