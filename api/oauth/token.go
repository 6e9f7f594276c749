package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// tokenParameters are the parameters of the token endpoint that have a member in [broker.TokenRequest].
var tokenParameters = []string{
	"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "code", "redirect_uri", "code_verifier",
	"refresh_token", "scope", "resource", "audience", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
	"requested_token_type",
}

// token is POST /oauth2/token (RFC 6749 §3.2, RFC 8693 §2.1). Only resource and audience may occur several times (RFC 8707 §2,
// RFC 8693 §2.1).
func (h *Handler) token(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r, "resource", "audience")
	var in broker.TokenRequest
	if err == nil {
		in, err = tokenRequest(r, form)
	}
	if err != nil {
		e := refusalOf(r, err)
		reason := e.description
		if e.code == broker.CodeInvalidClient { // the description is that of wrong credentials
			reason = "the client sent no credentials that can be read"
		}
		h.cfg.Clients.RefuseTokenRequest(r.Context(), e.code, reason, httpapi.BrokerRequest(r))
		return err
	}
	answer, err := h.cfg.Clients.Token(r.Context(), in, httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	h.letRead(w, r, answer.ClientID)
	httpapi.WriteBody(w, http.StatusOK, "application/json", appendTokens(make([]byte, 0, 4096), answer))
	return nil
}

func tokenRequest(r *http.Request, form url.Values) (broker.TokenRequest, error) {
	c, err := credentialsOf(r, form)
	if err != nil {
		return broker.TokenRequest{}, err
	}
	in := broker.TokenRequest{
		Client: c, GrantType: form.Get("grant_type"),
		Code: form.Get("code"), RedirectURI: form.Get("redirect_uri"), Verifier: form.Get("code_verifier"),
		RefreshToken: form.Get("refresh_token"), Scope: form.Get("scope"),
		Resources: sent(form, "resource"), Audiences: sent(form, "audience"),
		SubjectToken: form.Get("subject_token"), SubjectTokenType: form.Get("subject_token_type"),
		ActorToken: form.Get("actor_token"), ActorTokenType: form.Get("actor_token_type"),
		RequestedTokenType: form.Get("requested_token_type"),
	}
	if in.GrantType == "" {
		return broker.TokenRequest{}, invalidRequest("grant_type is missing or empty")
	}
	for name := range form {
		if !slices.Contains(tokenParameters, name) && len(sent(form, name)) > 0 {
			in.Unused = append(in.Unused, name)
		}
	}
	slices.Sort(in.Unused)
	return in, nil
}

// appendTokens appends the answer of RFC 6749 §5.1 and RFC 8693 §2.2.1.
func appendTokens(b []byte, a *broker.TokenAnswer) []byte {
	b = plainjson.AppendString(append(b, `{"access_token":`...), a.AccessToken)
	b = strconv.AppendInt(append(b, `,"token_type":"Bearer","expires_in":`...), int64(a.ExpiresIn/time.Second), 10)
	for _, m := range [...]struct{ name, value string }{
		{`,"refresh_token":`, a.RefreshToken}, {`,"id_token":`, a.IDToken}, {`,"scope":`, a.Scope}, {`,"issued_token_type":`, a.IssuedTokenType},
	} {
		if m.value != "" {
			b = plainjson.AppendString(append(b, m.name...), m.value)
		}
	}
	return append(b, '}')
}
