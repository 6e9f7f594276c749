package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// npmPackages is a directory with a package.json and what npm has installed for it.
type npmPackages string

// need skips the test where the packages are not installed; CI installs them.
func (p npmPackages) need(t *testing.T) {
	t.Helper()
	p.needPackage(t, "vite")
}

// needPackage is need for packages that name is one of.
func (p npmPackages) needPackage(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(string(p), "node_modules", name)); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("the packages of %s are not installed", p)
	}
	t.Skipf("the packages are not installed: npm ci --prefix %s", p)
}

// run runs a command of the packages in dir.
func (p npmPackages) run(t *testing.T, dir string, env []string, command string, args ...string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(string(p), "node_modules", ".bin", command))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", command, args, err, text)
	}
}

// viteBuild builds the single-page application in dir and returns the directory of its files.
func (p npmPackages) viteBuild(t *testing.T, dir string, env, flags []string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "dist")
	p.run(t, dir, env, "vite", append([]string{"build", "--logLevel", "warn", "--outDir", out, "--emptyOutDir"}, flags...)...)
	return out
}

// serveSPA serves the files of a single-page application at an origin of its own, and its index.html
// for each other path. The page keeps what it writes to the console in the list errors.
func serveSPA(t *testing.T, dir string) string {
	t.Helper()
	const keep = `<script>globalThis.errors = []; console.warn = console.error = (...text) => errors.push(text.join(" "));</script>`
	index := strings.Replace(readFile(t, filepath.Join(dir, "index.html")), "<head>", "<head>"+keep, 1)
	if !strings.Contains(index, keep) {
		t.Fatal("index.html has no <head>")
	}
	files := http.FileServer(http.Dir(dir))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(r.URL.Path))); err == nil && !info.IsDir() && r.URL.Path != "/index.html" {
			files.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(index))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// hasButton is a condition, and press a click: the first button in sight that begins with the text.
func hasButton(text string) string {
	return "[...document.querySelectorAll('button')].find((button) => button.checkVisibility() && button.textContent.trim().startsWith(" + quote(text) + "))"
}

func (b *tab) press(text string) {
	b.t.Helper()
	b.until("a button "+text, hasButton(text))
	b.run(hasButton(text) + ".click()")
}

// fillIn sends the form of the page, or of the provider, as if it was typed.
func (b *tab) fillIn(user, password string) {
	b.t.Helper()
	b.until("a form", "document.querySelector('form:not([hidden]) [name=password]')")
	b.run("for (const [name, text] of [['username', " + quote(user) + "], ['password', " + quote(password) + "]]) {" + `
		const field = document.querySelector("[name=" + name + "]");
		field.value = text;
		field.dispatchEvent(new Event("input", { bubbles: true }));
	}
	document.querySelector("form button").click()`)
}

// atProvider signs in as ada, whom the selector who shows then. The provider shows its form only once
// to a browser.
func (b *tab) atProvider(page, who string) {
	b.t.Helper()
	b.press("Sign in with cognito")
	b.until("at the provider or back", "location.origin !== "+quote(page)+" || document.querySelector("+quote(who)+")?.textContent === 'ada'")
	if b.value("location.origin") != page {
		b.fillIn("ada", "ada")
	}
	b.says(who, "ada")
}

// says waits for a text in the page's elements that match the selector.
func (b *tab) says(selector, text string) {
	b.t.Helper()
	b.until(selector+" says "+text, "[...document.querySelectorAll("+quote(selector)+")].some((element) => element.textContent.includes("+quote(text)+"))")
}

// asked is how often the page has asked for a path since it was loaded.
func asked(path string) string {
	return "String(performance.getEntriesByType('resource').filter(({ name }) => name.endsWith(" + quote(path) + ")).length)"
}
