package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// logOffAnswer is the body of a log-off.
type logOffAnswer struct {
	// LogoutURL ends the session at the provider, too, where the login came from one.
	LogoutURL string `json:"logout_url,omitempty"`
	// How many services have applied it, where the caller asked to wait for it. Names of
	// services are only for operators.
	*broker.ReceiptSummary
}

// admit is the start of the order of refusal that every POST of /auth shares: the body's
// type, then who sent it.
func (s *server) admit(r *http.Request) error {
	if err := checkJSON(r); err != nil {
		return err
	}
	return s.origins().check(r)
}

// signIn is POST /auth/sign-in/ {username, password}.
func (s *server) signIn(w http.ResponseWriter, r *http.Request) error {
	if err := s.admit(r); err != nil {
		return err
	}
	var username, password string
	if err := readMembers(w, r, member{"username", &username, true}, member{"password", &password, true}); err != nil {
		return err
	}
	g, err := s.cfg.Sessions.SignIn(r.Context(), username, password, s.signInRequest(r))
	return s.opened(w, g, err)
}

// signInRequest is brokerRequest with the refresh token of the cookie that came along: its
// session ends with the sign-in. A cookie that came twice is ignored here, because nothing
// shows which of the two is the browser's own.
func (s *server) signInRequest(r *http.Request) broker.Request {
	req := brokerRequest(r)
	if token, err := s.cookie.read(r); err == nil {
		req.RefreshToken = token
	}
	return req
}

// refresh is POST /auth/refresh/ {CSRF_token}. A session that is over clears the cookie; a
// wrong CSRF token or a broker in trouble leaves it.
func (s *server) refresh(w http.ResponseWriter, r *http.Request) error {
	csrf, err := s.csrf(w, r)
	if err != nil {
		return err
	}
	token, err := s.cookie.read(r)
	if err != nil {
		return err
	}
	if token == "" {
		s.cookie.clear(w)
		return noSession()
	}
	g, err := s.cfg.Sessions.Refresh(r.Context(), token, csrf, brokerRequest(r))
	if err != nil && g == nil && ends(r, err) {
		s.cookie.clear(w)
	}
	return s.rotated(w, g, err)
}

// logOff is POST /auth/logoff/?wait= {CSRF_token}. It is never refused with 401: without a
// session there is nothing to end. 202 says that the end is on disk and the services are
// still to be told. Where a neighbouring host can plant the cookie, the sessions of all that
// came are ended.
func (s *server) logOff(w http.ResponseWriter, r *http.Request) error {
	csrf, err := s.csrf(w, r)
	if err != nil {
		return err
	}
	token, duplicates, err := s.cookie.readForLogOff(r)
	if err != nil {
		return err
	}
	req, err := waiting(r, brokerRequest(r))
	if err != nil {
		return err
	}
	if from := r.Header.Get("Origin"); from != "" && s.cfg.InsecureDevelopment { // an allowed one: see admit
		req.LogoutReturn = from + "/"
	}
	status := http.StatusOK
	var answer logOffAnswer
	if token != "" || len(duplicates) > 0 {
		res, err := s.cfg.Sessions.LogOff(r.Context(), token, csrf, req, duplicates...)
		answer = logOffAnswer{res.LogoutURL, withoutNames(res.Receipts)}
		switch {
		case err != nil && !ends(r, err):
			return err
		case err == nil && res.Ended && !res.Broadcast:
			status = http.StatusAccepted
		}
	}
	s.cookie.clear(w)
	return writeJSON(w, status, answer)
}

func withoutNames(receipts *broker.ReceiptSummary) *broker.ReceiptSummary {
	if receipts == nil {
		return nil
	}
	numbers := *receipts
	numbers.Laggards = nil
	return &numbers
}

// csrf admits a refresh or a log-off and returns its CSRF token: the body's CSRF_token, or
// else the header X-CSRF-Token.
func (s *server) csrf(w http.ResponseWriter, r *http.Request) (string, error) {
	if err := s.admit(r); err != nil {
		return "", err
	}
	var csrf string
	if err := readMembers(w, r, member{"CSRF_token", &csrf, false}); err != nil {
		return "", err
	}
	if csrf == "" {
		csrf = r.Header.Get("X-CSRF-Token")
	}
	return csrf, nil
}

// opened answers with the tokens of a new session: the refresh token in the cookie, the rest
// in the body. With an error the cookie is set as well if there is a token.
func (s *server) opened(w http.ResponseWriter, g *broker.Grant, err error) error {
	if g != nil {
		s.cookie.open(w, g.RefreshToken, g.RefreshMaxAge)
	}
	return grant(w, g, err)
}

// rotated is like opened, for a refresh token that replaces the one presented.
func (s *server) rotated(w http.ResponseWriter, g *broker.Grant, err error) error {
	if g != nil {
		s.cookie.set(w, g.RefreshToken, g.RefreshMaxAge)
	}
	return grant(w, g, err)
}

// grant writes the body of a sign-in, an exchange and a refresh.
func grant(w http.ResponseWriter, g *broker.Grant, err error) error {
	if err != nil {
		return err
	}
	body, err := appendGrant(make([]byte, 0, 2048), g)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, "application/json", body)
	return nil
}

// appendGrant appends the body of a sign-in and a refresh: expires in Unix seconds, expires_in
// in seconds. The refresh token is in the cookie alone.
func appendGrant(b []byte, g *broker.Grant) ([]byte, error) {
	b = plainjson.AppendString(append(b, `{"access_token":`...), g.AccessToken)
	b = strconv.AppendInt(append(b, `,"token_type":"Bearer","expires":`...), g.ExpiresAt.Unix(), 10)
	b = strconv.AppendInt(append(b, `,"expires_in":`...), int64(g.ExpiresIn/time.Second), 10)
	b = plainjson.AppendString(append(b, `,"CSRF_token":`...), g.CSRFToken)
	if len(g.User) > 0 {
		var err error
		if b, err = plainjson.AppendObject(append(b, `,"user":`...), g.User); err != nil {
			return nil, fmt.Errorf("encoding the user: %w", err)
		}
	}
	return append(b, '}'), nil
}

func noSession() error {
	return &broker.Error{Code: broker.CodeNoSession, Message: "nobody is signed in"}
}
