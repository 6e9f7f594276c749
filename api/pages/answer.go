package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/look"
	"tokenbroker/api/origin"
	"tokenbroker/broker"
)

// page is what an endpoint shows.
type page struct {
	title   string
	refresh string
	// targets are URLs outside of the broker to which the page's forms lead.
	targets []string
	// policy replaces the page's form-action.
	policy string
	data   any
}

// write writes a page. Its Referrer-Policy lets the browser send the Origin of its forms.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, status int, t *template.Template, p page) error {
	if p.policy == "" {
		p.policy = "form-action " + strings.Join(append([]string{"'self'"}, sources(p.targets)...), " ")
	}
	w.Header().Set("Referrer-Policy", "same-origin")
	return httpapi.WriteTemplate(w, r, status, t, look.Page{Title: p.title, Refresh: p.refresh, Data: p.data}, p.policy)
}

// sources returns the sources of a content security policy that allow URLs. Browsers apply form-action to the redirects
// after a form as well.
func sources(targets []string) []string {
	var all []string
	for _, target := range targets {
		u, err := url.Parse(target)
		switch {
		case err != nil || u.Scheme == "":
			continue // a path of the broker
		case u.Scheme != "http" && u.Scheme != "https", strings.HasPrefix(u.Host, "["): // a source has no IPv6 address
			all = append(all, u.Scheme+":")
		case strings.ContainsAny(u.Host, " ;,'\""):
			continue // cannot be written; the browser refuses the redirect
		default:
			all = append(all, origin.Of(u))
		}
	}
	return all
}

// redirect sends the browser to a URL, by GET.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// withQuery adds parameters to a redirect URI, whose own query stays as it is (RFC 6749 §4.1.2).
func withQuery(uri string, params url.Values) string {
	switch {
	case !strings.Contains(uri, "?"):
		uri += "?"
	case !strings.HasSuffix(uri, "?") && !strings.HasSuffix(uri, "&"):
		uri += "&"
	}
	return uri + params.Encode()
}

// send answers the client of an authorization request (OAuth 2.0 Multiple Response Types §2.1, Form Post Response Mode §2).
func (h *Handler) send(w http.ResponseWriter, r *http.Request, a *broker.Authorization) error {
	if a.ResponseMode != "form_post" {
		redirect(w, withQuery(a.RedirectURI, a.Answer))
		return nil
	}
	type field struct{ Name, Value string }
	shown := struct {
		// URL is the redirect URI, which the operator registered, so its scheme is trusted.
		URL    template.URL
		Fields []field
		Script template.JS
	}{URL: template.URL(a.RedirectURI), Script: submitScript} //nolint:gosec // see above
	for name, values := range a.Answer {
		for _, value := range values {
			shown.Fields = append(shown.Fields, field{name, value})
		}
	}
	return h.write(w, r, http.StatusOK, formPostPage, page{
		title: h.site.Look.Plain("continue.title"), data: shown,
		policy: "script-src " + submitHash + "; form-action " + strings.Join(sources([]string{a.RedirectURI}), " "),
	})
}

// submitScript is the only script of a page. A browser that runs no scripts shows the button.
const submitScript = "document.forms[0].submit()"

var submitHash = func() string {
	sum := sha256.Sum256([]byte(submitScript))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()
