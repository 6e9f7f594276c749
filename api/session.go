package api

import (
	"errors"
	"net/http"

	"tokenbroker/broker"
)

// sessionAnswer is the body of GET /auth/session/. Times are Unix seconds.
type sessionAnswer struct {
	Sub       string         `json:"sub"`
	SID       string         `json:"sid"`
	ClientID  string         `json:"client_id,omitempty"`
	Scope     string         `json:"scope,omitempty"`
	AuthTime  int64          `json:"auth_time"`
	CreatedAt int64          `json:"created_at"`
	Expires   int64          `json:"expires"` // of the session, not of an access token
	CSRFToken string         `json:"CSRF_token"`
	User      map[string]any `json:"user,omitempty"`
}

// session is GET /auth/session/: who is signed in, for a SPA after a reload. It never
// rotates. Its answer carries the CSRF token, so other sites' pages are refused here, too.
func (s *server) session(w http.ResponseWriter, r *http.Request) error {
	w.Header().Add("Vary", "Cookie")
	if err := s.origins().check(r); err != nil {
		return err
	}
	token, err := s.cookie.read(r)
	if err != nil {
		return err
	}
	if token == "" {
		return noSession()
	}
	info, err := s.cfg.Sessions.Session(r.Context(), token, brokerRequest(r))
	if err != nil {
		if ends(r, err) {
			s.cookie.clear(w)
		}
		return err
	}
	return writeJSON(w, http.StatusOK, sessionAnswer{
		Sub: info.UID, SID: info.SID, ClientID: info.ClientID, Scope: info.Scope,
		AuthTime: info.AuthTime.Unix(), CreatedAt: info.CreatedAt.Unix(), Expires: info.ExpiresAt.Unix(),
		CSRFToken: info.CSRFToken, User: info.User,
	})
}

// verify is POST /auth/verify/ {token}: the claims of a good access token.
func (s *server) verify(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r); err != nil {
		return err
	}
	var token string
	if err := readMembers(w, r, member{"token", &token, true}); err != nil {
		return err
	}
	claims, err := s.cfg.Verifier.Verify(r.Context(), token)
	if err != nil {
		return err
	}
	if len(claims) == 0 || claims[0] != '{' {
		return &broker.Error{Code: broker.CodeInternal, Err: errors.New("verifier gave no claims and no error")}
	}
	writeBody(w, http.StatusOK, "application/json", claims)
	return nil
}
