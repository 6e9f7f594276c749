package pages

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// The largest requests in bytes, as a query. Log-out requests carry an id token.
const (
	maxAuthorization = broker.MaxAuthorizationQuery
	maxLogout        = 8 << 10
	// maxLong is the largest authorization request that is read. Authorize refuses one over broker.AuthorizationLimit.
	maxLong = 64 << 10
	// maxOwn is what the broker's own parameters add to a request.
	maxOwn = 512
	// maxForm is the largest body of the broker's own forms: a request, which may be three times as long as a form's field, and
	// what the user typed.
	maxForm = 48 << 10
)

// errorParam is the parameter by which /auth/login returns the refusal of a sign-in at a provider.
const errorParam = "error"

// parameters returns the parameters of a request to the authorization or the log-out endpoint: the query of a GET, and the
// form of a POST (OpenID Connect Core 1.0 §3.1.2.1).
func parameters(w http.ResponseWriter, r *http.Request, limit int) (url.Values, error) {
	if r.Method == http.MethodGet {
		return parse(r.URL.RawQuery, limit)
	}
	if r.URL.RawQuery != "" {
		return nil, httpapi.InvalidParameter("the parameters of a POST belong in its body, not in the query")
	}
	return form(w, r, limit)
}

// form reads the body of a form (application/x-www-form-urlencoded).
func form(w http.ResponseWriter, r *http.Request, limit int) (url.Values, error) {
	kind, charset := httpapi.MediaType(r.Header)
	if kind != "application/x-www-form-urlencoded" || charset != "" && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		return nil, &broker.Error{Code: httpapi.CodeUnsupportedMediaType, Message: "the body must be a form in UTF-8 (application/x-www-form-urlencoded)"}
	}
	body, err := httpapi.ReadBody(w, r, int64(limit+maxOwn))
	if err != nil {
		return nil, err
	}
	return parse(string(body), limit)
}

func parse(query string, limit int) (url.Values, error) {
	if len(query) > limit+maxOwn {
		return nil, tooLong(limit)
	}
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, httpapi.InvalidParameter("the parameters cannot be parsed")
	}
	return params, nil
}

func tooLong(limit int) error {
	return httpapi.InvalidParameter(fmt.Sprintf("the request is too long; its parameters may have at most %d bytes", limit))
}

// once returns the value of a parameter, or "". One that occurs twice or is not UTF-8 is refused.
func once(params url.Values, name string) (string, error) {
	if len(params[name]) > 1 {
		return "", &broker.Error{Code: httpapi.CodeRepeatedParameter, Message: name + " occurs twice; send it once"}
	}
	value := params.Get(name)
	if !utf8.ValidString(value) {
		return "", httpapi.InvalidParameter(name + " is not UTF-8")
	}
	return value, nil
}

// isCrossSite reports whether another site's page made the browser navigate here. The browser then sends no cookie that is
// SameSite=Strict. A frame is never navigated again, because the broker's pages are not shown in frames.
func isCrossSite(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return r.Header.Get("Sec-Fetch-Site") == "cross-site" && (dest == "" || dest == "document")
}

// bounce lets the browser repeat a request of another site, which came without the refresh cookie, from a page of the
// broker, so that it sends the cookie if it has one. The request is a GET then (docs/decisions/0049).
func (h *Handler) bounce(w http.ResponseWriter, r *http.Request, path string, params url.Values) error {
	again := withQuery(path+"?"+params.Encode(), url.Values{broker.ReturnParam: {"1"}})
	return h.write(w, r, http.StatusOK, bouncePage, page{title: h.site.Look.Plain("continue.title"), refresh: again, data: again})
}
