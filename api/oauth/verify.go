package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// verify is POST /auth/verify/ {token}: the claims of a valid access token.
func (h *Handler) verify(w http.ResponseWriter, r *http.Request) error {
	if err := h.site.CheckPost(r); err != nil {
		return err
	}
	var token string
	if err := httpapi.ReadMembers(w, r, httpapi.Required("token", &token)); err != nil {
		return err
	}
	claims, err := h.cfg.Verifier.Verify(r.Context(), token)
	if err != nil {
		return err
	}
	if len(claims) == 0 || claims[0] != '{' {
		return &broker.Error{Code: broker.CodeInternal, Err: errors.New("the verifier returned neither claims nor an error")}
	}
	httpapi.WriteBody(w, http.StatusOK, "application/json", claims)
	return nil
}

// gateway is GET and HEAD /auth/verify: the check that a reverse proxy makes for each request
// before it passes the request on (nginx auth_request, Caddy and Traefik forward auth). It checks
// the bearer token of the Authorization header and answers in headers: 200 with X-Auth-*, or 401
// without a body for a missing, empty or invalid token. nginx turns every other
// status into a 500.
//
// The query's [demands] restrict the accepted tokens: a token for another audience is invalid, and
// a valid token without all of the scopes is answered 403.
func (h *Handler) gateway(w http.ResponseWriter, r *http.Request) error {
	token := strings.Trim(httpapi.BearerToken(r), " ") // RFC 9110 §11.4 allows several spaces before it
	if token == "" {
		refuseGateway(w, r, http.StatusUnauthorized, httpapi.ChallengeBearer, "token_missing")
		return nil
	}
	raw, err := h.cfg.Verifier.Verify(r.Context(), token)
	if err != nil {
		e := httpapi.Refusal(r, err)
		if httpapi.Status(e.Code) != http.StatusUnauthorized {
			return err
		}
		httpapi.EntryOf(r).Cause = e.Err
		refuseGateway(w, r, http.StatusUnauthorized, httpapi.ChallengeInvalidToken, e.Code)
		return nil
	}
	var claims gatewayClaims
	if err := json.Unmarshal(raw, &claims); err != nil {
		return fmt.Errorf("reading the claims of a valid token: %w", err)
	}
	wants, err := parseDemands(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if len(wants.audiences) > 0 && !slices.ContainsFunc(wants.audiences, func(a string) bool { return slices.Contains(claims.Audience, a) }) {
		refuseGateway(w, r, http.StatusUnauthorized, httpapi.ChallengeInvalidToken, httpapi.CodeTokenInvalid)
		return nil
	}
	granted := strings.Fields(claims.Scope)
	for _, scope := range wants.scopes {
		if !slices.Contains(granted, scope) {
			refuseGateway(w, r, http.StatusForbidden, httpapi.ChallengeInsufficientScope, "insufficient_scope")
			return nil
		}
	}
	for name, value := range map[string]string{
		"X-Auth-Subject": claims.Subject, "X-Auth-Client": claims.ClientID, "X-Auth-Scope": claims.Scope, "X-Auth-Session": claims.SID,
	} {
		if value != "" && printable(value) {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// gatewayClaims are the claims that [Handler.gateway] reads.
type gatewayClaims struct {
	Subject  string   `json:"sub"`
	ClientID string   `json:"client_id"`
	Scope    string   `json:"scope"`
	SID      string   `json:"sid"`
	Audience []string `json:"aud"`
}

// demands are what a gateway requires of a valid token.
type demands struct {
	audiences []string // one of them
	scopes    []string // all of them
}

// parseDemands reads the query's audience (may be repeated) and scope (several are separated by
// spaces). Any other parameter is an error: a misspelt demand must not let tokens pass.
func parseDemands(query string) (demands, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return demands{}, httpapi.InvalidParameter("the query cannot be parsed: " + err.Error())
	}
	for name, sent := range values {
		switch {
		case name != "audience" && name != "scope":
			return demands{}, httpapi.InvalidParameter(fmt.Sprintf("the parameter %q is unknown; the parameters are audience and scope", name))
		case slices.ContainsFunc(sent, func(value string) bool { return strings.TrimSpace(value) == "" }):
			return demands{}, httpapi.InvalidParameter(name + " is empty")
		}
	}
	return demands{values["audience"], strings.Fields(strings.Join(values["scope"], " "))}, nil
}

// refuseGateway answers without a body; code is for the access log.
func refuseGateway(w http.ResponseWriter, r *http.Request, status int, challenge string, code broker.Code) {
	httpapi.EntryOf(r).Code = code
	w.Header().Set("WWW-Authenticate", challenge)
	w.WriteHeader(status)
}

// printable reports whether the value has only printable ASCII characters, which every
// program behind a proxy receives unchanged.
func printable(value string) bool {
	return !strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c > '~' })
}
