package devidp

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const loginStyle = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;background:#eef1f6;color:#16191f;margin:0}` +
	`main{max-width:22rem;margin:12vh auto;background:#fff;border-radius:.7rem;padding:2rem;box-shadow:0 8px 30px #0002}` +
	`h1{font-size:1.2rem;margin:0 0 .2rem}p{opacity:.75;margin:.2rem 0 1rem;font-size:.9rem}label{display:block;margin:.8rem 0 .2rem;font-size:.85rem}` +
	`input{font:inherit;width:100%;box-sizing:border-box;padding:.55rem .7rem;border:1px solid #9aa5b1;border-radius:.4rem}` +
	`button{font:inherit;width:100%;margin-top:1.2rem;padding:.6rem;border:0;border-radius:.4rem;background:#e77600;color:#fff;cursor:pointer}.bad{color:#b3261e;opacity:1}`

var loginPage = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Sign in</title><style>` + loginStyle + `</style></head><body><main><h1>Sign in with your user pool</h1>
<p>A stand-in for Cognito's hosted UI. Try ada / ada.</p>{{if .Failed}}<p class="bad">Incorrect username or password.</p>{{end}}
<form method="post" action="/oauth2/authorize?{{.Query}}"><label for="u">Username</label><input id="u" name="username" autocomplete="username" autofocus required>
<label for="p">Password</label><input id="p" name="password" type="password" autocomplete="current-password" required><button>Sign in</button></form>
</main></body></html>
`))

// request is a checked authorization request.
type request struct {
	client      Client
	redirectURI string
	query       url.Values
}

// check refuses what must not be redirected (RFC 6749 §4.1.2.1).
func (s *Server) check(w http.ResponseWriter, r *http.Request) (request, bool) {
	q := r.URL.Query()
	client, ok := s.client(q.Get("client_id"))
	if !ok || !slices.Contains(client.RedirectURIs, q.Get("redirect_uri")) {
		http.Error(w, "unknown client or redirect_uri", http.StatusBadRequest)
		return request{}, false
	}
	req := request{client: client, redirectURI: q.Get("redirect_uri"), query: q}
	pkce := q.Get("code_challenge") != "" && q.Get("code_challenge_method") == "S256"
	switch {
	case q.Get("response_type") != "code":
		req.back(w, r, url.Values{"error": {"unsupported_response_type"}})
	case !pkce && (client.Secret == "" || q.Get("code_challenge") != ""):
		req.back(w, r, url.Values{"error": {"invalid_request"}, "error_description": {"PKCE with S256 is required"}})
	default:
		return req, true
	}
	return request{}, false
}

// back redirects to the client with the state.
func (q request) back(w http.ResponseWriter, r *http.Request, answer url.Values) {
	if state := q.query.Get("state"); state != "" {
		answer.Set("state", state)
	}
	separator := "?"
	if strings.Contains(q.redirectURI, "?") {
		separator = "&"
	}
	http.Redirect(w, r, q.redirectURI+separator+answer.Encode(), http.StatusFound)
}

func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	req, ok := s.check(w, r)
	if !ok {
		return
	}
	if reason := s.currentFaults().AuthorizeError; reason != "" {
		req.back(w, r, url.Values{"error": {reason}})
		return
	}
	s.showLogin(w, req, false)
}

func (s *Server) showLogin(w http.ResponseWriter, req request, failed bool) {
	sum := sha256.Sum256([]byte(loginStyle))
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = loginPage.Execute(w, map[string]any{"Failed": failed, "Query": template.URL(req.query.Encode())}) //nolint:gosec // encoded a moment ago
}

// login is the hosted page's form. It sets no cookie: each authorization asks again.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	req, ok := s.check(w, r)
	if !ok {
		return
	}
	user, err := s.user(r.PostFormValue("username"), r.PostFormValue("password"))
	if err != nil {
		s.showLogin(w, req, true)
		return
	}
	code := uuid()
	now := s.cfg.Now()
	s.mu.Lock()
	for old, g := range s.codes {
		if now.After(g.expires) || len(s.codes) >= maxCodes {
			delete(s.codes, old)
		}
	}
	s.codes[code] = grant{
		user: user, client: req.client.ID, redirectURI: req.redirectURI, nonce: req.query.Get("nonce"), scope: req.query.Get("scope"),
		challenge: req.query.Get("code_challenge"), originID: uuid(), authTime: now, expires: now.Add(codeLife),
	}
	s.mu.Unlock()
	req.back(w, r, url.Values{"code": {code}})
}

// token is the token endpoint (RFC 6749 §3.2): authorization_code and refresh_token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	client, ok := s.authenticate(r)
	if !ok {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_client"})
		return
	}
	var g grant
	renewed := false
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		s.mu.Lock()
		g, ok = s.codes[r.PostFormValue("code")]
		delete(s.codes, r.PostFormValue("code")) // used once, whatever comes of it
		s.mu.Unlock()
		ok = ok && g.redirectURI == r.PostFormValue("redirect_uri") && s.cfg.Now().Before(g.expires) && verifierMatches(g, r.PostFormValue("code_verifier"))
	case "refresh_token":
		s.mu.Lock()
		g, ok = s.refresh[r.PostFormValue("refresh_token")]
		s.mu.Unlock()
		g.nonce, renewed = "", true
	default:
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	if !ok || g.client != client.ID {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	tokens, err := s.issue(g, !renewed)
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": "server_error"})
		return
	}
	writeJSON(w, http.StatusOK, tokens)
}

// authenticate finds the client and checks its secret, if it has one.
func (s *Server) authenticate(r *http.Request) (Client, bool) {
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	client, ok := s.client(id)
	return client, ok && subtle.ConstantTimeCompare([]byte(client.Secret), []byte(secret)) == 1
}

// verifierMatches is RFC 7636 §4.6.
func verifierMatches(g grant, verifier string) bool {
	if g.challenge == "" {
		return verifier == ""
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge
}

func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.authenticate(r); !ok {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_client"})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.refresh, r.PostFormValue("token"))
	w.WriteHeader(http.StatusOK)
}

// userInfo answers for a token that this pool signed.
func (s *Server) userInfo(w http.ResponseWriter, r *http.Request) {
	sub, ok := s.subjectOf(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	for _, u := range s.cfg.Users {
		if ok && u.Sub == sub {
			writeJSON(w, http.StatusOK, map[string]any{"sub": u.Sub, "username": u.Username, "email": u.Email, "email_verified": u.EmailVerified})
			return
		}
	}
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
}

// logout goes to an allow-listed page; there is no session here to end.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	client, ok := s.client(r.URL.Query().Get("client_id"))
	if to := r.URL.Query().Get("logout_uri"); ok && slices.Contains(client.LogoutURIs, to) {
		http.Redirect(w, r, to, http.StatusFound) //nolint:gosec // allow-listed a line above
		return
	}
	http.Error(w, "unknown client or logout_uri", http.StatusBadRequest)
}
