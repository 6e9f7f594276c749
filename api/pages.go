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
const pageStyle = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:15vh auto;padding:0 1.5rem}` +
	`h1{font-size:1.3rem}a.choice{display:block;margin:.6rem 0;padding:.7rem 1rem;border:1px solid;border-radius:.5rem;text-decoration:none;color:inherit}` +
	`small{opacity:.7}`

var pages = template.Must(template.New("pages").Parse(`{{define "page"}}<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}}</title><style>` + pageStyle + `</style></head><body><h1>{{.Title}}</h1>
{{if .Text}}<p>{{.Text}}</p>{{end}}{{range .Choices}}<a class="choice" href="{{.URL}}">{{.Name}}</a>
{{end}}{{if .Code}}<p><a href="/">Back</a></p><p><small>{{.Code}} · {{.RequestID}}</small></p>{{end}}
</body></html>
{{end}}`))

type page struct {
	Title, Text, Code, RequestID string
	Choices                      []choice
}

type choice struct{ Name, URL string }

// choosePage lets the user choose a provider.
func choosePage(w http.ResponseWriter, names []string, returnTo string) error {
	p := page{Title: "Sign in with"}
	if len(names) == 0 {
		p = page{Title: "There is nothing to choose", Text: "No sign-in provider is configured."}
	}
	for _, name := range names {
		query := url.Values{"provider": {name}, "return_to": {returnTo}}
		p.Choices = append(p.Choices, choice{Name: name, URL: "/auth/login/?" + query.Encode()})
	}
	return writePage(w, http.StatusOK, p)
}

// loginPage tells a person why a sign-in failed when there is no page to go back to.
func (s *server) loginPage(w http.ResponseWriter, r *http.Request, err error) error {
	reason := refusal(r, err)
	x := exchangeOf(r)
	x.code, x.cause = reason.Code, reason.Err
	return writePage(w, kinds[reason.Code].status, page{
		Title: "The sign-in did not work", Text: reason.Message, Code: string(reason.Code), RequestID: x.id,
	})
}

func writePage(w http.ResponseWriter, status int, p page) error {
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, "page", p); err != nil {
		return &broker.Error{Code: broker.CodeInternal, Err: err}
	}
	sum := sha256.Sum256([]byte(pageStyle))
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	writeBody(w, status, "text/html; charset=utf-8", body.Bytes())
	return nil
}
