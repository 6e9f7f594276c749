package api

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

	"tokenbroker/api/origin"
	"tokenbroker/api/web"
)

const scriptType = "text/javascript; charset=utf-8"

// The files below /web/, with their types. The SDK is served always, the demo in dev.
var (
	sdkFiles  = map[string]string{"client.js": scriptType, "client.d.ts": "text/plain; charset=utf-8"}
	demoFiles = map[string]string{
		"demo.js": scriptType, "demo-services.js": scriptType, "demo-story.js": scriptType, "demo-words.js": scriptType,
		"demo.css": "text/css; charset=utf-8",
	}
)

// isSDK reports whether a path is that of a file of the SDK.
func isSDK(path string) bool {
	name, found := strings.CutPrefix(path, "/web/")
	return found && sdkFiles[name] != ""
}

// webFile serves one embedded file. Caches ask each time whether it has changed.
func webFile(name, contentType string) (endpoint, error) {
	body, err := web.Files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	sum := sha256.Sum256(body)
	etag := quoteETag(hex.EncodeToString(sum[:16]))
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", etag)
		if matches(r.Header.Values("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		writeBody(w, http.StatusOK, contentType, body)
		return nil
	}, nil
}

// files registers what is served to browsers as it is.
func (s *server) files(get func(path string, f endpoint)) error {
	icon, err := webFile("icon.svg", "image/svg+xml")
	if err != nil {
		return err
	}
	get("/favicon.ico", icon) // where browsers look for it without being told
	served := []map[string]string{sdkFiles}
	root := s.rootPage
	if s.cfg.DemoSample != "" {
		page, err := s.demoPage()
		if err != nil {
			return err
		}
		root = page
		if s.cfg.DemoDocs != nil {
			get("/docs/:name", s.document)
		}
		served = append(served, demoFiles)
	}
	get("/", root)
	for _, files := range served {
		for name, contentType := range files {
			f, err := webFile(name, contentType)
			if err != nil {
				return err
			}
			get("/web/"+name, f)
		}
	}
	return nil
}

// document serves one of the documents as it is written.
func (s *server) document(w http.ResponseWriter, r *http.Request) error {
	body, err := fs.ReadFile(s.cfg.DemoDocs, r.PathValue("name"))
	if err != nil {
		return nothingHere()
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	writeBody(w, http.StatusOK, "text/plain; charset=utf-8", body)
	return nil
}

// demoService is a sample service as the demo page shows it.
type demoService struct{ Origin, Host string }

// demoPage is GET / in dev: it uses client.js and calls the sample services.
func (s *server) demoPage() (endpoint, error) {
	shown := struct {
		Services  []demoService
		Providers []string
		Thief     string
		Docs      bool
	}{Thief: s.cfg.DemoThief, Docs: s.cfg.DemoDocs != nil}
	connect := []string{"'self'"}
	for _, text := range append([]string{s.cfg.DemoSample}, s.cfg.DemoSamples...) {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("the sample service's URL %q: want scheme://host:port", text)
		}
		shown.Services = append(shown.Services, demoService{origin.Of(u), u.Host})
		connect = append(connect, origin.Of(u))
	}
	if s.cfg.DemoThief != "" {
		u, err := url.Parse(s.cfg.DemoThief)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("the thief's URL %q: want scheme://host:port/path", s.cfg.DemoThief)
		}
		// The page asks it at its own host, because another does not get the cookie.
		connect = append(connect, origin.Of(u), u.Scheme+"://localhost:"+u.Port())
	}
	if s.cfg.Logins != nil {
		shown.Providers = s.cfg.Logins.Providers()
	}
	page, err := template.ParseFS(web.Files, "demo.html")
	if err != nil {
		return nil, fmt.Errorf("reading the demo page: %w", err)
	}
	var body bytes.Buffer
	if err := page.Execute(&body, shown); err != nil {
		return nil, fmt.Errorf("making the demo page: %w", err)
	}
	connect = slices.Compact(connect)
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src " + strings.Join(connect, " ") +
		"; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cache-Control", "no-store")
		writeBody(w, http.StatusOK, "text/html; charset=utf-8", body.Bytes())
		return nil
	}, nil
}
