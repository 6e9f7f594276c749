package benchrun

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// browser is one session with the state of its browser. It makes one request at a time.
type browser struct {
	cookie, csrf string // "name=value", and the CSRF token for it
	// token is the first access token, sid its session's id if that is known.
	token, sid string
}

// answerLimit is the maximum number of bytes that are read of a response.
const answerLimit = 1 << 20

// statusError is a response with an unexpected status. It has only the code of the problem.
type statusError struct {
	path   string
	status int
	code   string
	// after is the time of the header Retry-After, or 0.
	after time.Duration
}

func (e *statusError) Error() string {
	if e.code == "" {
		return fmt.Sprintf("%s: status %d", e.path, e.status)
	}
	return fmt.Sprintf("%s: status %d, code %s", e.path, e.status, e.code)
}

// get requests path. The response must be a 200.
func (s *Server) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.options.URL+path, nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.do(req, path)
	return answer.body, err
}

// reply is a response whose body was read.
type reply struct {
	body    []byte
	cookies []*http.Cookie // without those that it removes
}

// post sends JSON, and the cookie if there is one. The response must be a 200 or 202.
func (s *Server) post(ctx context.Context, path, body, cookie string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.options.URL+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	return s.do(req, path)
}

func (s *Server) do(req *http.Request, path string) (reply, error) {
	resp, err := s.http.Do(req)
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w", path, errors.Unwrap(err)) // without the URL, which may be long
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return reply{}, fmt.Errorf("%s: reading the response: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted {
		return reply{}, newStatusError(path, resp, body)
	}
	cookies := slices.DeleteFunc(resp.Cookies(), func(c *http.Cookie) bool { return c.MaxAge < 0 })
	return reply{body, cookies}, nil
}

func newStatusError(path string, resp *http.Response, body []byte) error {
	e := &statusError{path: path, status: resp.StatusCode}
	var problem struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(body, &problem) == nil {
		e.code = strconv.QuoteToASCII(problem.Code)
		e.code = e.code[1 : len(e.code)-1]
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.after = time.Duration(seconds) * time.Second
	}
	return e
}

// parseSignIn reads the cookie and the tokens from the response to a sign-in.
func parseSignIn(r reply) (*browser, error) {
	var answer struct {
		AccessToken string `json:"access_token"`
		CSRFToken   string `json:"CSRF_token"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil || answer.AccessToken == "" || answer.CSRFToken == "" || len(r.cookies) != 1 {
		return nil, errors.New("the response to a sign-in is not from a tokenbroker")
	}
	return &browser{cookie: r.cookies[0].Name + "=" + r.cookies[0].Value, csrf: answer.CSRFToken, token: answer.AccessToken}, nil
}

// refresh rotates the session.
func (s *Server) refresh(ctx context.Context, b *browser) error {
	_, err := s.refreshAnswer(ctx, b)
	return err
}

// refreshAnswer rotates the session and returns the response.
func (s *Server) refreshAnswer(ctx context.Context, b *browser) ([]byte, error) {
	r, err := s.post(ctx, "/auth/refresh/", `{"CSRF_token":"`+b.csrf+`"}`, b.cookie)
	if err != nil {
		return nil, err
	}
	if len(r.cookies) != 1 {
		return nil, fmt.Errorf("%d cookies in the response to a refresh, want 1", len(r.cookies))
	}
	b.cookie = r.cookies[0].Name + "=" + r.cookies[0].Value
	return r.body, nil
}

// logOff ends the session.
func (s *Server) logOff(ctx context.Context, b *browser) error {
	_, err := s.post(ctx, "/auth/logoff/", `{"CSRF_token":"`+b.csrf+`"}`, b.cookie)
	return err
}

// verify has the server verify an access token.
func (s *Server) verify(ctx context.Context, token string) error {
	_, err := s.post(ctx, "/auth/verify/", `{"token":"`+token+`"}`, "")
	return err
}

// signInBody returns the body of a sign-in.
func signInBody(as Account) string {
	body, err := json.Marshal(map[string]string{"username": as.Username, "password": as.Password})
	if err != nil {
		panic("benchrun: encoding two strings as JSON: " + err.Error()) // cannot fail
	}
	return string(body)
}

// tokenSessions is the number of sessions at a URL that are refreshed to obtain tokens.
const tokenSessions = 16

// tokens returns n different access tokens: from n sign-ins at an own server, or from the refreshes of a
// few sessions at a URL, which the caller ends.
func (b *Bench) tokens(ctx context.Context, n int) (tokens []string, sessions []*browser, err error) {
	first := n
	if !b.Server.Own() {
		first = min(n, tokenSessions)
	}
	sessions, err = b.signIn(ctx, first)
	if err != nil {
		return nil, sessions, err
	}
	tokens = make([]string, n)
	for i, s := range sessions {
		tokens[i] = s.token
	}
	if n == first {
		return tokens, sessions, nil
	}
	b.Progress.Begin("fetch tokens", n-first)
	defer b.Progress.End()
	err = each(ctx, first, first, func(ctx context.Context, of int) error {
		for i := first + of; i < n; i += first {
			body, err := b.Server.refreshAnswer(ctx, sessions[of])
			if err != nil {
				return err
			}
			var answer struct {
				AccessToken string `json:"access_token"`
			}
			if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
				return errors.New("the response to a refresh has no access token")
			}
			tokens[i] = answer.AccessToken
			b.Progress.Add(1)
		}
		return nil
	})
	if err != nil {
		return nil, sessions, fmt.Errorf("fetching tokens: %w", err)
	}
	return tokens, sessions, nil
}

// tokenPart reads the header (0) or the claims (1) of the server's token.
func tokenPart(token string, part int, into any) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("the server's access token is not a JWS")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("reading the server's access token: %w", err)
	}
	return nil
}

// audience returns the first aud of a token, which is the service's name.
func audience(token string) (string, error) {
	var claims struct {
		Audience json.RawMessage `json:"aud"`
	}
	if err := tokenPart(token, 1, &claims); err != nil {
		return "", err
	}
	var one string
	if json.Unmarshal(claims.Audience, &one) == nil && one != "" {
		return one, nil
	}
	var all []string
	if json.Unmarshal(claims.Audience, &all) == nil && len(all) > 0 {
		return all[0], nil
	}
	return "", errors.New("the server's access token has no audience")
}
