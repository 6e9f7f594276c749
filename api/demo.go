package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/origin"
	"tokenbroker/api/web"
)

// The files below /web/, with their types. The SDK is served always, the demo in dev.
var (
	sdkFiles  = map[string]string{"client.js": "text/javascript; charset=utf-8", "client.d.ts": "text/plain; charset=utf-8"}
	demoFiles = map[string]string{"demo.js": "text/javascript; charset=utf-8", "demo.css": "text/css; charset=utf-8"}
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
	served := []map[string]string{sdkFiles}
	if s.cfg.DemoSample != "" {
		page, err := s.demoPage(s.cfg.DemoSample)
		if err != nil {
			return err
		}
		get("/", page)
		served = append(served, demoFiles)
	}
	if s.cfg.DemoSample == "" {
		get("/", s.rootPage)
	}
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

// demoPage is GET / in dev: it uses client.js and calls the sample service at sampleURL.
func (s *server) demoPage(sampleURL string) (endpoint, error) {
	sample, err := url.Parse(sampleURL)
	if err != nil || sample.Host == "" {
		return nil, fmt.Errorf("the sample service's URL %q: want scheme://host:port", sampleURL)
	}
	page, err := template.ParseFS(web.Files, "demo.html")
	if err != nil {
		return nil, fmt.Errorf("reading the demo page: %w", err)
	}
	var providers []string
	if s.cfg.Logins != nil {
		providers = s.cfg.Logins.Providers()
	}
	var body bytes.Buffer
	if err := page.Execute(&body, map[string]string{"Sample": origin.Of(sample), "Providers": strings.Join(providers, " ")}); err != nil {
		return nil, fmt.Errorf("making the demo page: %w", err)
	}
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' " + origin.Of(sample) +
		"; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cache-Control", "no-store")
		writeBody(w, http.StatusOK, "text/html; charset=utf-8", body.Bytes())
		return nil
	}, nil
}
