package browser

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/origin"
	"tokenbroker/api/web"
)

const scriptType = "text/javascript; charset=utf-8"

// The files below /web/, with their types. The SDK is always served, the demo only in dev.
var (
	sdkFiles  = map[string]string{"client.js": scriptType, "client.d.ts": "text/plain; charset=utf-8"}
	demoFiles = map[string]string{
		"demo.js": scriptType, "demo-services.js": scriptType, "demo-story.js": scriptType, "demo-words.js": scriptType,
		"demo.css": "text/css; charset=utf-8",
	}
)

// IsSDK reports whether path is the path of an SDK file.
func IsSDK(path string) bool {
	name, found := strings.CutPrefix(path, "/web/")
	return found && sdkFiles[name] != ""
}

// webFile serves one embedded file. Caches ask each time whether it has changed.
func webFile(name, contentType string) (httpapi.Endpoint, error) {
	body, err := web.Files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	sum := sha256.Sum256(body)
	etag := hex.EncodeToString(sum[:16])
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-cache")
		if !httpapi.NotModified(w, r, etag) {
			httpapi.WriteBody(w, http.StatusOK, contentType, body)
		}
		return nil
	}, nil
}

// Demo configures the demo page. It MUST NOT be set outside of development.
type Demo struct {
	// Services are the URLs of the sample services that the page calls. If empty, the page is not served.
	Services []string
	// Thief is the URL of a program on the broker's host that copies the refresh cookie and
	// uses it. If empty, the page has no button for it.
	Thief string
	// Docs are documents that the page links to, served below /docs/. If nil, there are none.
	Docs fs.FS
}

// fileRoutes returns the routes of the files and pages that browsers open.
func (h *Handler) fileRoutes() ([]httpapi.Route, error) {
	icon, err := webFile("icon.svg", "image/svg+xml")
	if err != nil {
		return nil, err
	}
	var root httpapi.Endpoint = h.rootPage
	served := []map[string]string{sdkFiles}
	routes := []httpapi.Route{httpapi.Get("/favicon.ico", icon)} // browsers look for it there by default
	if h.hasDemo() {
		if root, err = h.demoPage(); err != nil {
			return nil, err
		}
		if h.cfg.Demo.Docs != nil {
			routes = append(routes, httpapi.Get("/docs/*name", h.document))
		}
		served = append(served, demoFiles)
	}
	for _, files := range served {
		for name, contentType := range files {
			f, err := webFile(name, contentType)
			if err != nil {
				return nil, err
			}
			routes = append(routes, httpapi.Get("/web/"+name, f))
		}
	}
	return append(routes, httpapi.Get("/", root)), nil
}

// document serves one of the documents as it is written.
func (h *Handler) document(w http.ResponseWriter, r *http.Request) error {
	body, err := fs.ReadFile(h.cfg.Demo.Docs, strings.TrimPrefix(r.PathValue("name"), "/"))
	if err != nil {
		return httpapi.NotFound()
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	httpapi.WriteBody(w, http.StatusOK, "text/plain; charset=utf-8", body)
	return nil
}

// demoService is a sample service as the demo page shows it.
type demoService struct{ Origin, Host string }

// demoPage is GET / in dev: it uses client.js and calls the sample services.
func (h *Handler) demoPage() (httpapi.Endpoint, error) {
	shown := struct {
		Services  []demoService
		Providers []string
		Thief     string
		Docs      bool
	}{Thief: h.cfg.Demo.Thief, Docs: h.cfg.Demo.Docs != nil}
	connect := []string{"'self'"}
	for _, text := range h.cfg.Demo.Services {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("the sample service's URL %q: want scheme://host:port", text)
		}
		shown.Services = append(shown.Services, demoService{origin.Of(u), u.Host})
		connect = append(connect, origin.Of(u))
	}
	if h.cfg.Demo.Thief != "" {
		u, err := url.Parse(h.cfg.Demo.Thief)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("the thief's URL %q: want scheme://host:port/path", h.cfg.Demo.Thief)
		}
		// The page calls it at the page's own host, because the browser sends the cookie only there.
		connect = append(connect, origin.Of(u), u.Scheme+"://localhost:"+u.Port())
	}
	if h.cfg.Logins != nil {
		shown.Providers = h.cfg.Logins.Providers()
	}
	page, err := template.ParseFS(web.Files, "demo.html")
	if err != nil {
		return nil, fmt.Errorf("reading the demo page: %w", err)
	}
	var body bytes.Buffer
	if err := page.Execute(&body, shown); err != nil {
		return nil, fmt.Errorf("rendering the demo page: %w", err)
	}
	connect = slices.Compact(connect)
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src " + strings.Join(connect, " ") +
		"; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cache-Control", "no-store")
		httpapi.WriteBody(w, http.StatusOK, "text/html; charset=utf-8", body.Bytes())
		return nil
	}, nil
}

// rootPage is GET / for people: a provider's log-out ends there unless another page is
// configured. Other clients get 404.
func (h *Handler) rootPage(w http.ResponseWriter, r *http.Request) error {
	if !httpapi.PrefersHTML(r) {
		return httpapi.NotFound()
	}
	w.Header().Add("Vary", "Accept")
	w.Header().Set("Cache-Control", "no-store")
	p := httpapi.Page{
		Title: "Sign-in service",
		Text:  "This address signs people in to other applications and has no page of its own. If you have just signed out, you can close this window.",
	}
	if home := h.HomePage(); home != h.site.Issuer+"/" { // not to itself
		p.Choices = httpapi.LinkTo("Continue", home)
	}
	httpapi.WritePage(w, r, http.StatusOK, p)
	return nil
}
