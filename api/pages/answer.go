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
		case !isWeb(u), strings.HasPrefix(u.Host, "["): // a source has no IPv6 address
			all = append(all, u.Scheme+":")
		case strings.ContainsAny(u.Host, " ;,'\""):
			continue // cannot be written; the browser refuses the redirect
		default:
			u.Host = asciiHost(u) + portOf(u)
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

// answer is what the pages of an answer show.
type answer struct {
	// URL is where the answer goes. Its scheme is https, http, or that of an app, because directory accepts no other redirect URI.
	URL    template.URL
	Fields []field // of a form
	Script template.JS
	Client claims
	Target address
}

type field struct{ Name, Value string }

// answerOf returns the answer of an authorization request (OAuth 2.0 Multiple Response Types §2.1, Form Post Response Mode §2).
func answerOf(a *broker.Authorization) answer {
	x := answer{Client: claimsOf(a), Target: addressOf(a.RedirectURI)}
	if a.ResponseMode != "form_post" {
		x.URL = template.URL(withQuery(a.RedirectURI, a.Answer)) //nolint:gosec // see URL
		return x
	}
	x.URL = template.URL(a.RedirectURI) //nolint:gosec // see URL
	for name, values := range a.Answer {
		for _, value := range values {
			x.Fields = append(x.Fields, field{name, value})
		}
	}
	return x
}

// leave sends an answer that the user did not decide about, such as a refusal. The answer for a client that describes itself needs
// a click if it goes to another computer: anyone can have such a client, and a link to this site would lead to any other one
// (RFC 9700 §4.11.2).
func (h *Handler) leave(w http.ResponseWriter, r *http.Request, a *broker.Authorization) error {
	shown := answerOf(a)
	if !shown.Client.Unverified || shown.Client.Local {
		return h.send(w, r, a)
	}
	return h.write(w, r, http.StatusOK, leavePage, page{title: h.site.Look.Plain("leave.title"), targets: []string{a.RedirectURI}, data: shown})
}

// send sends the answer.
func (h *Handler) send(w http.ResponseWriter, r *http.Request, a *broker.Authorization) error {
	shown := answerOf(a)
	if a.ResponseMode != "form_post" {
		redirect(w, string(shown.URL))
		return nil
	}
	shown.Script = submitScript
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
