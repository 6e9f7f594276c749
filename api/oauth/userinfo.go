package oauth

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// userInfo is GET and POST /oauth2/userinfo (OpenID Connect Core 1.0 §5.3).
func (h *Handler) userInfo(w http.ResponseWriter, r *http.Request) error {
	token, err := bearerToken(w, r)
	if err != nil {
		return err
	}
	info, err := h.cfg.Clients.UserInfo(r.Context(), token, httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	h.letRead(w, r, info.ClientID)
	return httpapi.WriteJSON(w, http.StatusOK, info.Claims)
}

// bearerToken returns the access token of a request, which is in the header or in the form of a POST, and never in the query,
// which ends up in logs (RFC 6750 §2).
func bearerToken(w http.ResponseWriter, r *http.Request) (string, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || query.Has("access_token") {
		return "", invalidRequest("the access token must be in the header Authorization or in a form, not in the query")
	}
	inForm := ""
	if kind, _ := httpapi.MediaType(r.Header); r.Method == http.MethodPost && kind == "application/x-www-form-urlencoded" {
		body, err := httpapi.ReadBody(w, r, httpapi.MaxBody)
		if err != nil {
			return "", err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil || len(form["access_token"]) > 1 {
			return "", invalidRequest("the body is not a valid form, or has two access tokens")
		}
		inForm = form.Get("access_token")
	}
	switch inHeader := strings.Trim(httpapi.BearerToken(r), " "); {
	case len(r.Header.Values("Authorization")) > 1, inForm != "" && len(r.Header.Values("Authorization")) > 0:
		return "", invalidRequest("the request has more than one access token")
	case inForm != "":
		return inForm, nil
	case inHeader != "":
		return inHeader, nil
	}
	return "", &oauthError{status: http.StatusUnauthorized, code: codeTokenMissing, description: "the request has no access token"}
}

// codeTokenMissing is the code of a request without a token, for the access log: such a request gets no error code
// (RFC 6750 §3.1).
const codeTokenMissing broker.Code = "token_missing"

// bearerErrors answers the errors of f as RFC 6750 §3 says, and lets pages of clients read them.
func (h *Handler) bearerErrors(f httpapi.Endpoint) httpapi.Endpoint {
	return h.forPages(func(w http.ResponseWriter, r *http.Request) error {
		err := f(w, r)
		if err == nil {
			return nil
		}
		h.letAnyClientRead(w, r)
		e := refusalOf(r, err)
		switch e.code {
		case codeTokenMissing:
			httpapi.EntryOf(r).Code = e.code
			w.Header().Set("WWW-Authenticate", httpapi.ChallengeBearer)
			w.WriteHeader(http.StatusUnauthorized)
			return nil
		case broker.CodeInvalidGrant: // a refusal of the token by another code
			e.status, e.code = http.StatusUnauthorized, broker.CodeInvalidToken
		}
		if e.status < 500 && e.status != http.StatusTooManyRequests {
			w.Header().Set("WWW-Authenticate", bearerChallenge(e))
		}
		return writeError(w, r, e)
	})
}

func bearerChallenge(e *oauthError) string {
	challenge := fmt.Sprintf(`%s, error="%s"`, httpapi.ChallengeBearer, e.code)
	if e.description != "" {
		challenge += fmt.Sprintf(`, error_description="%s"`, plainText(e.description))
	}
	if e.code == broker.CodeInsufficientScope {
		challenge += `, scope="openid"`
	}
	return challenge
}
