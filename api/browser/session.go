package browser

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// logOffAnswer is the body of a log-off.
type logOffAnswer struct {
	// LogoutURL also ends the session at the provider that the login came from, if there is one.
	LogoutURL string `json:"logout_url,omitempty"`
	// The number of services that have applied the log-off, if the request has the parameter wait. Only operators
	// see the services' names.
	*broker.ReceiptSummary
}

// signIn is POST /auth/sign-in/ {username, password}.
func (h *Handler) signIn(w http.ResponseWriter, r *http.Request) error {
	if err := h.site.CheckPost(r); err != nil {
		return err
	}
	var username, password string
	if err := httpapi.ReadMembers(w, r, httpapi.Required("username", &username), httpapi.Required("password", &password)); err != nil {
		return err
	}
	g, err := h.cfg.Sessions.SignIn(r.Context(), username, password, h.signInRequest(r))
	return h.opened(w, g, err)
}

// signInRequest is [httpapi.BrokerRequest] with the refresh token of the request's cookie: the
// sign-in ends that session. A cookie that occurs twice is ignored here, because the broker cannot
// know which of the two is the browser's own.
func (h *Handler) signInRequest(r *http.Request) broker.Request {
	req := httpapi.BrokerRequest(r)
	if token, err := h.cookie.Read(r); err == nil {
		req.RefreshToken = token
	}
	return req
}

// refresh is POST /auth/refresh/ {CSRF_token}. If the session has ended, the cookie is
// cleared; after a wrong CSRF token or a failure of the broker it stays.
func (h *Handler) refresh(w http.ResponseWriter, r *http.Request) error {
	csrf, err := h.csrf(w, r)
	if err != nil {
		return err
	}
	token, err := h.cookie.Read(r)
	if err != nil {
		return err
	}
	if token == "" {
		h.cookie.Clear(w)
		return noSession()
	}
	g, err := h.cfg.Sessions.Refresh(r.Context(), token, csrf, httpapi.BrokerRequest(r))
	if err != nil && g == nil && httpapi.EndsSession(r, err) {
		h.cookie.Clear(w)
	}
	return h.rotated(w, g, err)
}

// logOff is POST /auth/logoff/?wait= {CSRF_token}. It is never refused with 401: without a
// session there is nothing to end. 202 means that the end is on disk and the services are
// not notified yet. If a neighbouring host can plant the cookie, the sessions of all cookies of
// that name are ended.
func (h *Handler) logOff(w http.ResponseWriter, r *http.Request) error {
	csrf, err := h.csrf(w, r)
	if err != nil {
		return err
	}
	token, duplicates, err := h.cookie.ReadForLogOff(r)
	if err != nil {
		return err
	}
	req, err := httpapi.WithWait(r, httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	if from := r.Header.Get("Origin"); from != "" && h.site.Development { // an allowed one: see csrf
		req.LogoutReturn = from + "/"
	}
	status := http.StatusOK
	var answer logOffAnswer
	if token != "" || len(duplicates) > 0 {
		res, err := h.cfg.Sessions.LogOff(r.Context(), token, csrf, req, duplicates...)
		answer = logOffAnswer{res.LogoutURL, withoutNames(res.Receipts)}
		switch {
		case err != nil && !httpapi.EndsSession(r, err):
			return err
		case err == nil && res.Ended && !res.Broadcast:
			status = http.StatusAccepted
		}
	}
	h.cookie.Clear(w)
	return httpapi.WriteJSON(w, status, answer)
}

func withoutNames(receipts *broker.ReceiptSummary) *broker.ReceiptSummary {
	if receipts == nil {
		return nil
	}
	numbers := *receipts
	numbers.Laggards = nil
	return &numbers
}

// csrf checks the start of a refresh or a log-off and returns its CSRF token: the body's
// CSRF_token, or otherwise the header X-CSRF-Token.
func (h *Handler) csrf(w http.ResponseWriter, r *http.Request) (string, error) {
	if err := h.site.CheckPost(r); err != nil {
		return "", err
	}
	var csrf string
	if err := httpapi.ReadMembers(w, r, httpapi.Optional("CSRF_token", &csrf)); err != nil {
		return "", err
	}
	if csrf == "" {
		csrf = r.Header.Get("X-CSRF-Token")
	}
	return csrf, nil
}

// opened answers with the tokens of a new session: the refresh token in the cookie, the rest
// in the body. The cookie is also set if there is a token and an error.
func (h *Handler) opened(w http.ResponseWriter, g *broker.Grant, err error) error {
	if g != nil {
		h.cookie.Open(w, g.RefreshToken, g.RefreshMaxAge)
	}
	return grant(w, g, err)
}

// rotated is like opened, for a refresh token that replaces the one presented.
func (h *Handler) rotated(w http.ResponseWriter, g *broker.Grant, err error) error {
	if g != nil {
		h.cookie.Set(w, g.RefreshToken, g.RefreshMaxAge)
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
	httpapi.WriteBody(w, http.StatusOK, "application/json", body)
	return nil
}

// appendGrant appends the body of a sign-in and a refresh: expires in Unix seconds, expires_in
// in seconds. The refresh token is only in the cookie.
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
	return &broker.Error{Code: broker.CodeNoSession, Message: "the request has no refresh cookie; sign in first"}
}

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
// rotates. Its answer has the CSRF token, so pages of other sites are refused here as well.
func (h *Handler) session(w http.ResponseWriter, r *http.Request) error {
	w.Header().Add("Vary", "Cookie")
	if err := h.site.CheckOrigin(r); err != nil {
		return err
	}
	token, err := h.cookie.Read(r)
	if err != nil {
		return err
	}
	if token == "" {
		return noSession()
	}
	info, err := h.cfg.Sessions.Session(r.Context(), token, httpapi.BrokerRequest(r))
	if err != nil {
		if httpapi.EndsSession(r, err) {
			h.cookie.Clear(w)
		}
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, sessionAnswer{
		Sub: info.UID, SID: info.SID, ClientID: info.ClientID, Scope: info.Scope,
		AuthTime: info.AuthTime.Unix(), CreatedAt: info.CreatedAt.Unix(), Expires: info.ExpiresAt.Unix(),
		CSRFToken: info.CSRFToken, User: info.User,
	})
}
