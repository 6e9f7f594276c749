package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/api/web"
)

// documentedFiles writes the blocks of docs/spa.md that name a file below app into dir.
func documentedFiles(t *testing.T, app, dir string) (names []string) {
	t.Helper()
	for _, b := range fences(t, "spa.md") {
		_, name, _ := strings.Cut(b.info, " ")
		if !strings.HasPrefix(name, app+"/") {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		t.Fatalf("spa.md has no file of %s", app)
	}
	return names
}

// TestDocsReactIsTheExample: TestBrowserReact runs these files.
func TestDocsReactIsTheExample(t *testing.T) {
	dir := t.TempDir()
	for _, name := range documentedFiles(t, "react", dir) {
		if readFile(t, filepath.Join(dir, name)) != readFile(t, filepath.Join("../../examples", name)) {
			t.Errorf("spa.md does not quote examples/%s to the letter", name)
		}
	}
}

// TestBrowserDocumentedPages goes through the pages of docs/spa.md that are not React's.
func TestBrowserDocumentedPages(t *testing.T) {
	t.Parallel()
	first := startBrowser(t)
	dev := startDev(t)
	for app, build := range map[string]func(*testing.T, *running) string{"plain": plainPage, "vue": vuePage, "next": nextPage} {
		t.Run(app, func(t *testing.T) {
			documentedPage(&tab{t, first.ctx}, serveSPA(t, build(t, dev)))
		})
	}
	dev.finish(t)
}

func plainPage(t *testing.T, dev *running) string {
	dir := t.TempDir()
	documentedFiles(t, "plain", dir)
	dir = filepath.Join(dir, "plain")
	client, err := web.Files.ReadFile("client.js")
	if err != nil {
		t.Fatal(err)
	}
	index := strings.NewReplacer("http://${location.hostname}:8080", dev.issuer, "http://127.0.0.1:8082", dev.sample).Replace(readFile(t, filepath.Join(dir, "index.html")))
	for name, text := range map[string]string{"client.js": string(client), "index.html": index} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// documentPackages are for the applications of docs/spa.md that have to be built.
const documentPackages npmPackages = "testdata/spa"

// typedApp copies the documented files next to those of testdata/spa/app, checks their types, and returns
// the directory of one application.
func typedApp(t *testing.T, app string) string {
	t.Helper()
	documentPackages.need(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(string(documentPackages)+"/app")); err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs(string(documentPackages) + "/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	documentedFiles(t, "vue", dir)
	documentedFiles(t, "next", dir)
	documentPackages.run(t, dir, nil, "tsc")
	return filepath.Join(dir, app)
}

// ofDocuments selects the configuration of vite, which is next to the applications.
var ofDocuments = []string{"--config", "../vite.config.ts"}

func vuePage(t *testing.T, dev *running) string {
	return documentPackages.viteBuild(t, typedApp(t, "vue"), append(viteEnv(dev), "NODE_ENV=development"), ofDocuments)
}

// nextPage renders on a server and hydrates in the browser as Next.js does, without Next.js.
func nextPage(t *testing.T, dev *running) string {
	dir, env := typedApp(t, "next"), append(viteEnv(dev), "NODE_ENV=development")
	server := documentPackages.viteBuild(t, dir, env, append(ofDocuments, "--ssr", "server.tsx"))
	if err := os.Symlink(filepath.Join(filepath.Dir(dir), "node_modules"), filepath.Join(filepath.Dir(server), "node_modules")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", filepath.Join(server, "server.mjs"))
	cmd.Env = append(os.Environ(), env...)
	rendered, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(rendered), "Loading") {
		t.Fatalf("rendered on the server: %v\n%s", err, rendered)
	}
	out := documentPackages.viteBuild(t, dir, env, ofDocuments)
	index := filepath.Join(out, "index.html")
	text := strings.Replace(readFile(t, index), "<!--rendered-->", string(rendered), 1)
	if err := os.WriteFile(index, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// documentedPage requires that no user is signed in, and signs out at its end.
func documentedPage(first *tab, page string) {
	const who, form = "main:not([hidden]) strong", "form:not([hidden])"
	first.navigate(page)
	first.fillIn("admin", "wrong")
	first.says("[role=alert]", "invalid_credentials")
	first.fillIn("admin", "admin")
	first.says(who, "admin")
	first.press("Call the service")
	first.says("output", "Hello, ")
	first.navigate(page)
	first.says(who, "admin")
	first.want("questions who is signed in", asked("/auth/session/"), "1")
	first.press("Call the service")
	first.says("output", "Hello, ")

	second := open(first.ctx, first.t)
	second.navigate(page)
	second.says(who, "admin")
	second.press("Sign out")
	first.says(form, "Sign in")
	first.want("what is left of the user", "document.querySelector('output')?.textContent ?? ''", "")

	first.atProvider(page, who)
	second.says(who, "ada")
	for _, b := range []*tab{first, second} {
		b.want("errors in the console", "errors.join()", "")
	}
	first.press("Sign out")
	second.says(form, "Sign in")
}
