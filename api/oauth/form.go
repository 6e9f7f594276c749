package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/internal/basicauth"
)

// readForm reads a form of at most [httpapi.MaxBody] bytes. A parameter that occurs twice is
// refused (RFC 6749 §3.1), unless several names it, and so is one in the query, which ends up in logs.
func readForm(w http.ResponseWriter, r *http.Request, several ...string) (url.Values, error) {
	if kind, _ := httpapi.MediaType(r.Header); kind != "application/x-www-form-urlencoded" {
		return nil, invalidRequest("the request must have exactly one Content-Type, application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, invalidRequest("the parameters must be in the body, not in the query")
	}
	body, err := httpapi.ReadBody(w, r, httpapi.MaxBody)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidRequest("the body is not a valid form")
	}
	for name, values := range form {
		if len(values) > 1 && !slices.Contains(several, name) {
			return nil, invalidRequest("a parameter occurs twice; send it once")
		}
		for _, value := range values {
			if !utf8.ValidString(name) || !utf8.ValidString(value) {
				return nil, invalidRequest("the body is not UTF-8")
			}
		}
	}
	return form, nil
}

// sent returns the values of a parameter that are not empty: a parameter without a value counts as omitted (RFC 6749 §3.2).
func sent(form url.Values, name string) []string {
	return slices.DeleteFunc(slices.Clone(form[name]), func(value string) bool { return value == "" })
}

// credentialsOf returns the credentials of the caller, which come by one method and not by two (RFC 6749 §2.3): by Basic, or in
// the form as a secret or an assertion. A public client sends only its client_id.
func credentialsOf(r *http.Request, form url.Values) (broker.ClientCredentials, error) {
	c := broker.ClientCredentials{
		ID: form.Get("client_id"), Secrets: sent(form, "client_secret"),
		Assertion: form.Get("client_assertion"), AssertionType: form.Get("client_assertion_type"),
	}
	inForm := len(c.Secrets) > 0 || c.Assertion != "" || c.AssertionType != ""
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) > 1 || len(headers) == 1 && inForm, len(c.Secrets) > 0 && (c.Assertion != "" || c.AssertionType != ""):
		return broker.ClientCredentials{}, invalidRequest("the client authenticates by more than one method; use Basic, client_secret or client_assertion")
	case len(headers) == 1:
		id, secrets, ok := basicauth.Read(r)
		if !ok {
			return broker.ClientCredentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "The header Authorization has no Basic credentials."}
		}
		if c.ID != "" && c.ID != id {
			return broker.ClientCredentials{}, invalidRequest("client_id differs from the client that authenticates by Basic")
		}
		return broker.ClientCredentials{ID: id, Secrets: secrets}, nil
	case c.ID == "" && !inForm:
		return broker.ClientCredentials{}, &broker.Error{Code: broker.CodeInvalidClient, Message: "The request names no client."}
	}
	return c, nil
}
