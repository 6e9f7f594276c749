package httpapi

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/broker"
)

// pageStyle is the style of the small pages. Their content security policy allows only its hash.
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

// Page is a small page for a person.
type Page struct {
	Title, Text string
	Choices     []Choice

	// Code, RequestID and Checks are those of a refusal.
	Code, RequestID string
	Checks          []Check
}

// Choice is a link that a page offers.
type Choice struct{ Name, URL string }

// LinkTo returns the choice of going to home, named by its host if it has one.
func LinkTo(verb, home string) Choice {
	if u, err := url.Parse(home); err == nil && u.Host != "" {
		return Choice{Name: verb + " to " + u.Host, URL: home}
	}
	return Choice{Name: verb, URL: home}
}

// WritePage writes a page with a policy that allows only its style.
func WritePage(w http.ResponseWriter, status int, p Page) {
	var body bytes.Buffer
	_ = pages.ExecuteTemplate(&body, "page", p) // strings and a buffer: cannot fail
	sum := sha256.Sum256([]byte(pageStyle))
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
	WriteBody(w, status, "text/html; charset=utf-8", body.Bytes())
}

// writeRefusalPage writes a page that explains why a request failed and how to continue. The code
// and the request id are for support.
func writeRefusalPage(w http.ResponseWriter, x *LogEntry, e *broker.Error, checks []Check) {
	p := refusalPage(e)
	p.Code, p.RequestID, p.Checks = string(e.Code), x.ID, checks
	p.Choices = []Choice{LinkTo("Back", x.home())}
	WritePage(w, Status(e.Code), p)
}

// refusalPage returns the title and the text of the page about a refusal. Where the refusal's
// message is for the developer of the client, the page explains instead what its reader can do.
func refusalPage(e *broker.Error) Page {
	switch e.Code {
	case CodeNotFound, broker.CodeUnknownUser, broker.CodeUnknownSession, broker.CodeUnknownClient, broker.CodeUnknownKey:
		return Page{Title: "There is no such page", Text: "The address is mistyped, or the page has moved."}
	case broker.CodeUnknownProvider:
		return Page{Title: "This way to sign in is not available", Text: "The link names a sign-in provider that is not set up here. Go back to the application and sign in from there."}
	case CodeInvalidReturn, CodeRepeatedParameter, CodeInvalidParameter:
		return Page{Title: "This link does not work", Text: "It was not made for this sign-in service, or is damaged. Go back to the application and sign in from there."}
	case broker.CodeLoginState, broker.CodeLoginUsed, CodeDuplicateCookie:
		return Page{Title: "This sign-in cannot be completed", Text: "It was started in another browser or too long ago, or is completed already. Go back to the application and sign in again."}
	case broker.CodeUpstreamUnavailable:
		return Page{Title: "The sign-in provider does not answer", Text: "Try again in a few minutes."}
	case CodeMethodNotAllowed, CodeUnsupportedMediaType, CodeUnauthorized, CodeForbiddenOrigin:
		return Page{Title: "This address is not for browsers", Text: "Applications use it. Go back to the application and sign in from there."}
	case CodeNotReady:
		return Page{Title: "The sign-in service is not ready", Text: e.Message}
	case broker.CodeInternal, broker.CodeClaimsFailed:
		return Page{Title: "Something went wrong", Text: "Try again. If it happens again, give support the line below."}
	}
	switch kinds[e.Code].status {
	case http.StatusTooManyRequests:
		return Page{Title: "Too many attempts", Text: "Wait a moment and try again."}
	case http.StatusServiceUnavailable:
		return Page{Title: "The sign-in service is busy", Text: "Try again in a moment."}
	}
	return Page{Title: kinds[e.Code].title, Text: sentence(e.Message)}
}

// sentence starts a message with a capital letter and ends it with a full stop.
func sentence(message string) string {
	if message == "" {
		return "Go back to the application and sign in again."
	}
	if c := message[0]; c >= 'a' && c <= 'z' {
		message = string(c-'a'+'A') + message[1:]
	}
	return strings.TrimSuffix(message, ".") + "."
}
