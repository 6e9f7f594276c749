package api

import (
	"net/http"
	"strings"
	"time"

	"tokenbroker/broker"
)

// nonceAnswer is the body of GET /auth/exchange-nonce. Expires is in Unix seconds, ExpiresIn
// in seconds.
type nonceAnswer struct {
	Nonce     string `json:"nonce"`
	Expires   int64  `json:"expires"`
	ExpiresIn int64  `json:"expires_in"`
}

// exchangeNonce is GET /auth/exchange-nonce: a nonce for the authentication request of a SPA
// that signs in at a provider itself. Another site's page could only push out the cookies of
// sign-ins that are open, so it is refused.
func (s *server) exchangeNonce(w http.ResponseWriter, r *http.Request) error {
	if err := s.origins().check(r); err != nil {
		return err
	}
	nonce := s.cfg.Logins.NewExchangeNonce()
	s.nonces.set(w, r, nonce.CookieSuffix, nonce.CookieValue)
	return writeJSON(w, http.StatusOK, nonceAnswer{nonce.Nonce, nonce.ExpiresAt.Unix(), int64(nonce.ExpiresIn / time.Second)})
}

// socialExchange is POST /auth/social-exchange/ {id_token, access_token, refresh_token,
// expires_in, token_type, provider?}. The upstream refresh token is neither needed nor kept.
func (s *server) socialExchange(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r); err != nil {
		return err
	}
	var tokens broker.UpstreamTokens
	var provider string
	err := readMembers(w, r, member{"id_token", &tokens.IDToken, true}, member{"access_token", &tokens.AccessToken, false},
		member{"provider", &provider, false})
	if err != nil {
		return err
	}
	if names := s.cfg.Logins.Providers(); provider == "" && len(names) == 1 {
		provider = names[0]
	} else if provider == "" {
		return invalidBody("provider is missing: one of " + strings.Join(names, ", "))
	}
	var suffix string // of the nonce's cookie
	tokens.NonceCookie = func(of string) (string, error) {
		suffix = of
		return s.nonces.read(r, of)
	}
	g, err := s.cfg.Logins.ExchangeTokens(r.Context(), provider, tokens, s.signInRequest(r))
	if g != nil && suffix != "" {
		s.nonces.clear(w, suffix)
	}
	return s.opened(w, g, err)
}
