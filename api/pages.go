package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"

	"tokenbroker/broker"
)

// pageStyle is the one style of the small pages; their policy allows it by its hash.
const pageStyle = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1.5rem;overflow-wrap:anywhere}` +
	`h1{font-size:1.3rem}a.choice{display:block;margin:.6rem 0;padding:.7rem 1rem;border:1px solid;border-radius:.5rem;text-decoration:none;color:inherit}` +
	`a.choice:hover{text-decoration:underline}small{opacity:.75}`

var pages = template.Must(template.New("pages").Parse(`{{define "page"}}<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}}</title><style>` + pageStyle + `</style></head><body><main><h1>{{.Title}}</h1>
{{if .Text}}<p>{{.Text}}</p>
{{end}}{{if .Checks}}<ul>{{range .Checks}}<li>{{.Name}}: {{if not .OK}}not ready{{else if .Degraded}}degraded{{else}}ready{{end}}{{if .Detail}} ({{.Detail}}){{end}}</li>{{end}}</ul>
{{end}}{{range .Choices}}<a class="choice" href="{{.URL}}">{{.Name}}</a>
{{end}}{{if .Code}}<p><small>{{.Code}} · {{.RequestID}}</small></p>{{end}}
</main></body></html>
{{end}}`))

type page struct {
	Title, Text, Code, RequestID string
	Checks                       []Check
	Choices                      []choice
}

type choice struct{ Name, URL string }

// wayTo leads to home, by the name of its host if it has one.
func wayTo(verb, home string) choice {
	if u, err := url.Parse(home); err == nil && u.Host != "" {
		return choice{Name: verb + " to " + u.Host, URL: home}
	}
	return choice{Name: verb, URL: home}
}

// choosePage lets the user choose a provider.
func (s *server) choosePage(w http.ResponseWriter, names []string, returnTo string) error {
	p := page{Title: "Sign in with"}
	if len(names) == 0 {
		p = page{Title: "There is nothing to choose", Text: "No sign-in provider is configured.", Choices: []choice{wayTo("Back", s.home())}}
	}
	for _, name := range names {
		query := url.Values{"provider": {name}, "return_to": {returnTo}}
		p.Choices = append(p.Choices, choice{Name: name, URL: "/auth/login/?" + query.Encode()})
	}
	writePage(w, http.StatusOK, p)
	return nil
}

// rootPage is GET /, where a provider's log-out ends unless it is configured, for people. Other
// clients find nothing there.
func (s *server) rootPage(w http.ResponseWriter, r *http.Request) error {
	if !prefersHTML(r) {
		return nothingHere()
	}
	w.Header().Add("Vary", "Accept")
	w.Header().Set("Cache-Control", "no-store")
	p := page{
		Title: "Sign-in service",
		Text:  "This address signs people in to other applications and has no page of its own. If you have just signed out, you can close this window.",
	}
	if home := s.home(); home != "/" && home != s.cfg.Issuer+"/" {
		p.Choices = []choice{wayTo("Continue", home)}
	}
	writePage(w, http.StatusOK, p)
	return nil
}

// refusalPage tells a person why a request failed, and where to go from there. The code and the
// request id are for support.
func refusalPage(w http.ResponseWriter, x *exchange, e *broker.Error, checks []Check) {
	p := words(e)
	p.Code, p.RequestID, p.Checks = string(e.Code), x.id, checks
	p.Choices = []choice{wayTo("Back", x.home())}
	writePage(w, kinds[e.Code].status, p)
}

// writePage writes a page with the policy that allows no more than its style.
func writePage(w http.ResponseWriter, status int, p page) {
	var body bytes.Buffer
	_ = pages.ExecuteTemplate(&body, "page", p) // strings and a buffer: cannot fail
	sum := sha256.Sum256([]byte(pageStyle))
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	writeBody(w, status, "text/html; charset=utf-8", body.Bytes())
}
