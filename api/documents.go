package api

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"tokenbroker/broker"
)

// document is what a conditional GET is answered from.
type document struct {
	body   []byte
	etag   string
	maxAge time.Duration
}

// serve answers 200, or 304 when the caller has the document already.
func (d document) serve(w http.ResponseWriter, r *http.Request) error {
	if len(d.body) == 0 {
		return &broker.Error{Code: broker.CodeUnavailable, Message: "there is no such document yet"}
	}
	h := w.Header()
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d", max(0, int64(d.maxAge/time.Second))))
	etag := quoteETag(d.etag)
	if etag != "" {
		h.Set("ETag", etag)
		if matches(r.Header.Values("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	// Not application/jwk-set+json: there are JWKS readers that insist on plain JSON.
	writeBody(w, http.StatusOK, "application/json", d.body)
	return nil
}

// jwks serves a document that changes.
func (s *server) jwks(get Document) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, etag, maxAge := get()
		return document{body, etag, maxAge}.serve(w, r)
	}
}

// quoteETag gives a bare tag its quotes (RFC 9110 §8.8.3).
func quoteETag(tag string) string {
	if tag == "" || strings.HasPrefix(tag, `"`) || strings.HasPrefix(tag, `W/"`) {
		return tag
	}
	return `"` + tag + `"`
}

// matches is the weak comparison of If-None-Match (RFC 9110 §13.1.2). Our tags have no commas.
func matches(sent []string, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for _, line := range sent {
		for tag := range strings.SplitSeq(line, ",") {
			if tag = strings.Trim(tag, optionalSpace); tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}
