package api

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
)

// login is GET /auth/login/?provider&return_to: it sends the browser to the provider, the
// only one if none is named, or lets the user choose. When the login cannot start, a browser
// that came with a return_to goes back there with the parameter error, as from [server.callback].
func (s *server) login(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if err := single(query, "provider", "return_to"); err != nil {
		return err
	}
	returnTo, err := s.returnTo(query.Get("return_to"))
	if err != nil {
		return err
	}
	provider := query.Get("provider")
	if names := s.cfg.Logins.Providers(); provider == "" && len(names) != 1 {
		return s.choosePage(w, names, returnTo)
	} else if provider == "" {
		provider = names[0]
	}
	start, err := s.cfg.Logins.StartLogin(r.Context(), provider, s.callbackURI(r, provider), returnTo, s.signInRequest(r))
	if err != nil {
		if query.Get("return_to") != "" && prefersHTML(r) {
			w.Header().Add("Vary", "Accept")
			redirectError(w, r, returnTo, err)
			return nil
		}
		return err
	}
	s.logins.set(w, r, start.CookieSuffix, start.CookieValue)
	redirect(w, start.RedirectURL, http.StatusFound)
	return nil
}

// callback is GET /auth/callback/:provider/: where the provider sends the browser back. A
// refusal goes to return_to with the parameter error when the login cookie opens, and is
// answered otherwise.
func (s *server) callback(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	if err := single(query, "code", "state", "iss", "error"); err != nil {
		return err
	}
	provider := r.PathValue("provider")
	suffix := broker.LoginCookieSuffix(query.Get("state"))
	cookie, err := s.logins.read(r, suffix)
	if err != nil {
		return err
	}
	grant, returnTo, err := s.cfg.Logins.CompleteLogin(r.Context(), broker.LoginCallback{
		Provider: provider, Code: query.Get("code"), State: query.Get("state"), Issuer: query.Get("iss"),
		Error: query.Get("error"), Cookie: cookie,
	}, s.signInRequest(r))
	if returnTo != "" {
		s.logins.clear(w, suffix)
	}
	if grant != nil { // with an error, too: the session is there
		s.cookie.open(w, grant.RefreshToken, grant.RefreshMaxAge)
	}
	switch {
	case err == nil:
		redirect(w, returnTo, http.StatusSeeOther)
		return nil
	case returnTo != "":
		redirectError(w, r, returnTo, err)
		return nil
	default:
		return err
	}
}

// callbackURI is where the provider sends the browser back: at the issuer, whatever the request's
// Host says. In development it is at the request's host, if that is an allowed origin: there the
// browser keeps the cookies.
func (s *server) callbackURI(r *http.Request, provider string) string {
	base := s.cfg.Issuer
	if s.cfg.InsecureDevelopment {
		base = cmp.Or(s.origins().atHost(r.Host), base)
	}
	return strings.TrimSuffix(base, "/") + "/auth/callback/" + url.PathEscape(provider) + "/"
}

// single refuses a repeated parameter: two readers might take different ones.
func single(query url.Values, names ...string) error {
	for _, name := range names {
		if len(query[name]) > 1 {
			return &broker.Error{Code: CodeRepeatedParameter, Message: name + " comes twice"}
		}
	}
	return nil
}

// withError adds the parameter error to a checked return_to, in the place of an older one;
// the rest of the query is the SPA's and stays as it is.
func withError(returnTo string, code broker.Code) string {
	target, fragment, hasFragment := strings.Cut(returnTo, "#")
	u, err := url.Parse(target)
	if err != nil {
		return "/?error=" + url.QueryEscape(string(code))
	}
	pairs := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == "error" || u.RawQuery == ""
	})
	u.RawQuery = strings.Join(append(pairs, "error="+url.QueryEscape(string(code))), "&")
	if hasFragment {
		return u.String() + "#" + fragment
	}
	return u.String()
}

// redirectError sends the browser to a checked return_to with the reason of err.
func redirectError(w http.ResponseWriter, r *http.Request, returnTo string, err error) {
	reason := refusal(r, err)
	x := exchangeOf(r)
	x.code, x.cause = reason.Code, reason.Err
	redirect(w, withError(returnTo, reason.Code), http.StatusSeeOther)
}

// redirect sends the browser on, without the body that net/http would add.
func redirect(w http.ResponseWriter, to string, status int) {
	w.Header().Set("Location", to)
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
}

// maxLogins is how many login attempts a browser may have open at once.
const maxLogins = 5

// attemptCookies bind login attempts to a browser, one cookie for each attempt: sealed login
// states, or nonces for an exchange. The prefix __Host- (RFC 6265bis §4.1.3.2), which wants the
// path /, keeps a neighbouring subdomain from planting one: its login would end in this browser.
type attemptCookies struct {
	prefix, path string
	insecure     bool
	sameSite     http.SameSite
	life         time.Duration
}

func newAttemptCookies(prefix string, insecure bool, sameSite http.SameSite, life time.Duration) attemptCookies {
	a := attemptCookies{prefix: prefix, path: httpapi.AuthPath, insecure: insecure, sameSite: sameSite, life: life}
	if !insecure {
		a.prefix, a.path = httpapi.HostPrefix+prefix, "/"
	}
	return a
}

// set adds an attempt; browsers send the oldest first, and those over the limit go.
func (l attemptCookies) set(w http.ResponseWriter, r *http.Request, suffix, value string) {
	var open []string
	for _, c := range r.Cookies() {
		if s, ok := strings.CutPrefix(c.Name, l.prefix); ok && !slices.Contains(open, s) {
			open = append(open, s)
		}
	}
	for len(open) >= maxLogins {
		l.clear(w, open[0])
		open = open[1:]
	}
	l.write(w, suffix, value, int(l.life.Seconds()))
}

func (l attemptCookies) read(r *http.Request, suffix string) (string, error) {
	switch found := r.CookiesNamed(l.prefix + suffix); len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0].Value, nil
	default:
		return "", &broker.Error{Code: CodeDuplicateCookie, Message: "a cookie of this sign-in comes twice"}
	}
}

func (l attemptCookies) clear(w http.ResponseWriter, suffix string) { l.write(w, suffix, "", -1) }

func (l attemptCookies) write(w http.ResponseWriter, suffix, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure and SameSite are the caller's
		Name: l.prefix + suffix, Value: value, Path: l.path, MaxAge: maxAge,
		HttpOnly: true, Secure: !l.insecure, SameSite: l.sameSite,
	})
}
