package httpapi

import (
	"cmp"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/look"
	"tokenbroker/broker"
)

// smallPage is the template of [Page].
var smallPage = template.Must(look.Parse(`<h1>{{.Title}}</h1>
{{with .Data}}{{if .Text}}<p class="lead">{{.Text}}</p>
{{end}}{{if .Checks}}<ul class="checks">{{range .Checks}}<li>{{.Name}}: {{if not .OK}}not ready{{else if .Degraded}}degraded{{else}}ready{{end}}{{if .Detail}} ({{.Detail}}){{end}}</li>{{end}}</ul>
{{end}}{{with .Reason}}<p class="quiet" id="reason">{{.}}</p>
{{end}}{{range .Choices}}<a class="choice" href="{{.URL}}">{{.Name}}</a>
{{end}}{{if .Code}}<p class="code"><small>{{.Code}} · {{.RequestID}}</small></p>{{end}}{{end}}
`))

// Page is a small page for a person.
type Page struct {
	Title, Text string
	Choices     []Choice

	// Reason is why a refusal happened, for the developer of the application.
	Reason string
	// Code, RequestID and Checks are those of a refusal.
	Code, RequestID string
	Checks          []Check
}

// Choice is a link that a page offers.
type Choice struct{ Name, URL string }

// LinkTo returns the choice of going to home, named by its host if it has one, and no choice if home is empty.
func LinkTo(verb, home string) []Choice {
	if home == "" {
		return nil
	}
	if u, err := url.Parse(home); err == nil && u.Host != "" {
		verb += " to " + u.Host
	}
	return []Choice{{Name: verb, URL: home}}
}

// WritePage writes a page with a policy that allows only its style.
func WritePage(w http.ResponseWriter, r *http.Request, status int, p Page) {
	_ = WriteTemplate(w, r, status, smallPage, look.Page{Title: p.Title, Data: p}, "form-action 'none'") // strings and a buffer: cannot fail
}

// WriteTemplate writes a page of a template that [look.Parse] returned. The page's policy allows only its style, images of the
// broker, and what policy adds.
func WriteTemplate(w http.ResponseWriter, r *http.Request, status int, t *template.Template, p look.Page, policy string) error {
	l := cmp.Or(EntryOf(r).look, look.Default())
	body, err := l.Render(t, p)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Security-Policy", l.Policy(policy))
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	WriteBody(w, status, "text/html; charset=utf-8", body)
	return nil
}

// writeRefusalPage writes a page that explains why a request failed and how to continue. The code
// and the request id are for support.
func writeRefusalPage(w http.ResponseWriter, r *http.Request, x *LogEntry, e *broker.Error, checks []Check) {
	p := refusalPage(e)
	for key, text := range map[string]*string{"title": &p.Title, "text": &p.Text} {
		if replaced, ok := x.look.Replaced("error." + string(e.Code) + "." + key); ok {
			*text = replaced
		}
	}
	p.Code, p.RequestID, p.Checks = string(e.Code), x.ID, checks
	if home := x.home(); home != "" {
		back := Choice{Name: x.look.Plain("back"), URL: home}
		if u, err := url.Parse(home); err == nil && u.Host != "" {
			back.Name = x.look.Plain("back.to_host", "host", u.Host)
		}
		p.Choices = []Choice{back}
	}
	WritePage(w, r, Status(e.Code), p)
}

// refusalPage returns the title and the text of the page about a refusal. Where the refusal's
// message is for the developer of the client, the page explains instead what its reader can do.
func refusalPage(e *broker.Error) Page {
	switch described := errors.Is(e, broker.ErrClientDocument); {
	case described && e.Code == broker.CodeUpstreamUnavailable:
		return Page{Title: "This application cannot be used now", Text: "Its description of itself cannot be read. Try again in a few minutes."}
	case described:
		return Page{
			Title: "This application cannot be used", Text: "Its description of itself is refused. Go back to the application and tell its support.",
			Reason: sentence(e.Message),
		}
	}
	switch e.Code {
	case CodeNotFound, broker.CodeUnknownUser, broker.CodeUnknownSession, broker.CodeUnknownClient, broker.CodeUnknownKey:
		return Page{Title: "There is no such page", Text: "The address is mistyped, or the page has moved."}
	case broker.CodeUnknownProvider:
		return Page{Title: "This way to sign in is not available", Text: "The link names a sign-in provider that is not set up here. Go back to the application and sign in from there."}
	case CodeInvalidReturn, CodeRepeatedParameter, CodeInvalidParameter, broker.CodeInvalidRequest:
		return Page{Title: "This link does not work", Text: "It was not made for this sign-in service, or is damaged. Go back to the application and sign in from there."}
	case broker.CodeInvalidRedirect:
		return Page{Title: "This request cannot be answered", Text: "The application that sent you here is not registered with this sign-in service, or it named an address for the answer that is not registered. Go back to the application and tell its support.", Reason: e.Message}
	case broker.CodeCSRF:
		return Page{Title: "This page is out of date", Text: "You signed in or out since it was opened. Go back to the application and start again."}
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
