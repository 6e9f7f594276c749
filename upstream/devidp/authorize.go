package devidp

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// cookieName differs from Cognito's: cookies ignore ports, and the broker is on the same host.
const cookieName = "cognito-dev"

// request is a checked authorization request.
type request struct {
	client      Client
	redirectURI string
	scope       string
	query       url.Values
}

// check answers errors that must not be redirected (RFC 6749 §4.1.2.1) with 400, and others with a
// redirect to the client.
func (s *Server) check(w http.ResponseWriter, r *http.Request) (request, bool) {
	q := r.URL.Query()
	client, ok := s.client(q.Get("client_id"))
	if !ok || !client.accepts(client.RedirectURIs, q.Get("redirect_uri")) {
		http.Error(w, "unknown client or redirect_uri", http.StatusBadRequest)
		return request{}, false
	}
	req := request{client: client, redirectURI: q.Get("redirect_uri"), scope: q.Get("scope"), query: q}
	if req.scope == "" {
		req.scope = strings.Join(scopes, " ") // all allowed scopes
	}
	pkce := q.Get("code_challenge") != "" && q.Get("code_challenge_method") == "S256"
	switch {
	case hasRepeatedParameter(q):
		req.fail(w, r, "invalid_request", "a parameter is repeated")
	case q.Get("response_type") != "code":
		req.fail(w, r, "unsupported_response_type", "")
	case !pkce && (client.Secret == "" || q.Get("code_challenge") != ""):
		req.fail(w, r, "invalid_request", "PKCE with S256 is required")
	case slices.ContainsFunc(strings.Fields(req.scope), func(scope string) bool { return !slices.Contains(scopes, scope) }):
		req.fail(w, r, "invalid_scope", "")
	default:
		return req, true
	}
	return request{}, false
}

// accepts reports whether the client may redirect the browser to uri.
func (c Client) accepts(registered []string, uri string) bool {
	return slices.Contains(registered, uri) || c.AnyLoopback && loopbackURI(uri)
}

// loopbackURI accepts only URIs that a browser interprets in the same way: ASCII without a
// backslash, a user or a fragment.
func loopbackURI(text string) bool {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil ||
		strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' || r == '#' }) {
		return false
	}
	return slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname())
}

// hasRepeatedParameter reports whether a parameter occurs twice (RFC 6749 §3.1).
func hasRepeatedParameter(q url.Values) bool {
	for _, values := range q {
		if len(values) > 1 {
			return true
		}
	}
	return false
}

func (q request) fail(w http.ResponseWriter, r *http.Request, code, description string) {
	answer := url.Values{"error": {code}}
	if description != "" {
		answer.Set("error_description", description)
	}
	q.redirect(w, r, answer)
}

// redirect sends the browser back to the client with the state.
func (q request) redirect(w http.ResponseWriter, r *http.Request, answer url.Values) {
	if state := q.query.Get("state"); state != "" {
		answer.Set("state", state)
	}
	separator := "?"
	if strings.Contains(q.redirectURI, "?") {
		separator = "&"
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, q.redirectURI+separator+answer.Encode(), http.StatusFound)
}

// session is the session of a user at the login page.
type session struct {
	user     User
	authTime time.Time
}

// authorize redirects a browser with a session at once with a code, as Cognito does for an hour,
// and other browsers to the login page. With prompt=login it always does the latter.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	req, ok := s.check(w, r)
	if !ok {
		return
	}
	if reason := s.currentFaults().AuthorizeError; reason != "" {
		req.fail(w, r, reason, "")
		return
	}
	if cookie, err := r.Cookie(cookieName); err == nil && req.query.Get("prompt") != "login" {
		s.mu.Lock()
		in, ok := s.sessions.get(cookie.Value, s.cfg.Now())
		s.mu.Unlock()
		if ok {
			s.redirectWithCode(w, r, req, in)
			return
		}
	}
	http.Redirect(w, r, "/login?"+req.query.Encode(), http.StatusFound)
}

// loginPage shows the login page. It takes the same query as the authorization endpoint.
func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	if req, ok := s.check(w, r); ok {
		writeLoginPage(w, req, http.StatusOK, "", "")
	}
}

// login handles the form of the login page.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	req, ok := s.check(w, r)
	if !ok {
		return
	}
	now := s.cfg.Now()
	if s.failed.TokensAt(now) < 1 {
		writeLoginPage(w, req, http.StatusTooManyRequests, r.PostFormValue("username"), "Too many failed attempts: wait a moment.")
		return
	}
	user, err := s.user(r.PostFormValue("username"), r.PostFormValue("password"))
	if err != nil {
		s.failed.AllowN(now, 1)
		writeLoginPage(w, req, http.StatusOK, r.PostFormValue("username"), "Incorrect username or password.")
		return
	}
	in, id := session{user: user, authTime: now}, randomText(32)
	s.mu.Lock()
	s.sessions.put(id, in, now.Add(life))
	s.mu.Unlock()
	//nolint:gosec // not Secure: the pool is plain HTTP on loopback
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: id, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode})
	s.redirectWithCode(w, r, req, in)
}

func (s *Server) redirectWithCode(w http.ResponseWriter, r *http.Request, req request, in session) {
	code := uuid()
	s.mu.Lock()
	s.codes.put(code, grant{
		user: in.user, client: req.client.ID, redirectURI: req.redirectURI, nonce: req.query.Get("nonce"), scope: req.scope,
		challenge: req.query.Get("code_challenge"), originID: uuid(), authTime: in.authTime,
	}, s.cfg.Now().Add(codeLife))
	s.mu.Unlock()
	req.redirect(w, r, url.Values{"code": {code}})
}

// logout ends the session of the login page and redirects to an allowed page.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	client, ok := s.client(r.URL.Query().Get("client_id"))
	to := r.URL.Query().Get("logout_uri")
	if !ok || !client.accepts(client.LogoutURIs, to) {
		http.Error(w, "unknown client or logout_uri", http.StatusBadRequest)
		return
	}
	if cookie, err := r.Cookie(cookieName); err == nil {
		s.mu.Lock()
		s.sessions.take(cookie.Value, s.cfg.Now())
		s.mu.Unlock()
	}
	//nolint:gosec // not Secure: the pool is plain HTTP on loopback
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, to, http.StatusFound) //nolint:gosec // allow-listed above
}

const loginStyle = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;background:#eef1f6;color:#16191f;margin:0}` +
	`main{box-sizing:border-box;width:calc(100% - 2rem);max-width:26rem;margin:12vh auto;background:#fff;border-radius:.7rem;padding:2rem;box-shadow:0 8px 30px #0002}` +
	`h1{font-size:1.2rem;margin:0 0 .2rem}p{opacity:.75;margin:.2rem 0 1rem;font-size:.9rem}label{display:block;margin:.8rem 0 .2rem;font-size:.85rem}` +
	`input{font:inherit;color:inherit;background:none;width:100%;box-sizing:border-box;padding:.55rem .7rem;border:1px solid #7d8793;border-radius:.4rem}` +
	`button{font:inherit;width:100%;margin-top:1.2rem;padding:.6rem;border:0;border-radius:.4rem;background:#b34d00;color:#fff;cursor:pointer}` +
	`:focus-visible{outline:2px solid #c45500;outline-offset:2px}.bad{color:#b3261e;opacity:1}` +
	`@media(prefers-color-scheme:dark){body{background:#10141a;color:#e6e9ee}main{background:#1b212a;box-shadow:none}.bad{color:#ff8a80}}`

const loginIcon = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='7' fill='%23b34d00'/%3E%3C/svg%3E"

var loginTemplate = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Sign in</title><link rel="icon" href="` + loginIcon + `"><style>` + loginStyle + `</style></head><body><main><h1>Sign in with your user pool</h1>
<p>A stand-in for Cognito's hosted UI. Try ada / ada.</p>{{with .Problem}}<p class="bad" role="alert">{{.}}</p>{{end}}
<form method="post" action="/login?{{.Query}}"><label for="u">Username</label><input id="u" name="username" value="{{.Username}}" autocomplete="username" autocapitalize="none" spellcheck="false"{{if not .Username}} autofocus{{end}} required>
<label for="p">Password</label><input id="p" name="password" type="password" autocomplete="current-password"{{if .Username}} autofocus{{end}} required><button>Sign in</button></form>
</main></body></html>
`))

// loginPolicy has no form-action: browsers apply it to each redirect after the form, and the
// client's next redirects are not known here.
var loginPolicy = func() string {
	sum := sha256.Sum256([]byte(loginStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
}()

// writeLoginPage writes the login page, with the user name of the last attempt, if any.
func writeLoginPage(w http.ResponseWriter, req request, status int, username, problem string) {
	w.Header().Set("Content-Security-Policy", loginPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "same-origin")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = loginTemplate.Execute(w, map[string]any{"Problem": problem, "Username": username, "Query": template.URL(req.query.Encode())}) //nolint:gosec // encoded a moment ago
}
