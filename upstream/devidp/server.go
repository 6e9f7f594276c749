// Package devidp emulates the OpenID Connect endpoints of a Cognito user pool in process, for
// `tokenbroker dev` and for tests, with switches for failures. It keeps everything in memory and
// its passwords are public: it MUST NOT be reachable from another machine.
package devidp

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

// Limits of the stored values and of requests.
const (
	maxBody = 64 << 10
	// maxKept is the maximum number of codes, of sessions and of refresh tokens.
	maxKept  = 1000
	codeLife = 5 * time.Minute
	// life is the lifetime of access and id tokens, and of the hosted page's session.
	life        = time.Hour
	refreshLife = 30 * 24 * time.Hour
)

// Server is the pool. It is safe for concurrent use and starts no goroutine.
type Server struct {
	cfg  Config
	pool string // the path of the issuer
	base string // scheme and host of the issuer

	failed *rate.Limiter // failed attempts to sign in

	mu       sync.Mutex // guards the fields below
	keys     []signingKey
	updated  bool // whether tokens name the updated issuer
	codes    *expiringMap[grant]
	refresh  *expiringMap[grant]
	sessions *expiringMap[session]
	faults   Faults
}

// signingKey is one of the two published keys. The first one signs.
type signingKey struct {
	kid     string
	private *rsa.PrivateKey
}

// grant is the grant of a code or a refresh token.
type grant struct {
	user                              User
	client, redirectURI               string
	nonce, challenge, scope, originID string
	authTime                          time.Time
}

// New returns a pool with two new keys.
func New(cfg Config) (*Server, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || strings.Count(u.Path, "/") != 1 || len(u.Path) < 2 {
		return nil, fmt.Errorf("devidp: issuer %q: want scheme://host/pool-id", cfg.Issuer)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	seen := map[string]bool{}
	for _, c := range cfg.Clients {
		if c.ID == "" || seen[c.ID] {
			return nil, fmt.Errorf("devidp: client %q: want a unique id", c.ID)
		}
		seen[c.ID] = true
	}
	s := &Server{
		cfg: cfg, pool: u.Path, base: u.Scheme + "://" + u.Host, failed: rate.NewLimiter(5, 20),
		codes: newExpiringMap[grant](maxKept), refresh: newExpiringMap[grant](maxKept), sessions: newExpiringMap[session](maxKept),
	}
	for range 2 {
		if err := s.addKey(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Server) addKey() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("devidp: making a key: %w", err)
	}
	s.keys = append(s.keys, signingKey{kid: randomText(18), private: private})
	return nil
}

// RotateKeys makes the second key sign and publishes a new one in addition.
func (s *Server) RotateKeys() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.addKey(); err != nil {
		return err
	}
	s.keys = s.keys[1:]
	return nil
}

// UseUpdatedIssuer selects the issuer of the pool, as its operators can at Cognito. While the
// updated issuer is not selected, its documents are refused with 403.
func (s *Server) UseUpdatedIssuer(updated bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updated = updated
}

// issuer returns the issuer in tokens. The caller holds mu.
func (s *Server) issuer() string {
	if s.updated {
		return s.cfg.UpdatedIssuer
	}
	return s.cfg.Issuer
}

// issuerAt returns the issuer whose documents the request asks for, or false if it does not exist.
func (s *Server) issuerAt(r *http.Request) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.UpdatedIssuer != "" && strings.HasPrefix(s.cfg.UpdatedIssuer, "https://"+r.Host+"/") {
		return s.cfg.UpdatedIssuer, s.updated
	}
	return s.cfg.Issuer, true
}

// Handler returns the HTTP handler of the pool. A test may post the login form to the authorization
// endpoint without fetching the page. A browser is refused if it posts the form from another site.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+s.pool+"/.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET "+s.pool+"/.well-known/jwks.json", s.jwks)
	mux.HandleFunc("GET /oauth2/authorize", s.authorize)
	mux.HandleFunc("GET /login", s.loginPage)
	sameOrigin := http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.login))
	mux.Handle("POST /login", sameOrigin)
	mux.Handle("POST /oauth2/authorize", sameOrigin)
	mux.HandleFunc("POST /oauth2/token", s.token)
	mux.HandleFunc("GET /oauth2/userInfo", s.userInfo)
	mux.HandleFunc("POST /oauth2/revoke", s.revoke)
	mux.HandleFunc("GET /logout", s.logout)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		f := s.currentFaults()
		if f.Slow > 0 {
			select {
			case <-time.After(f.Slow):
			case <-r.Context().Done():
				return
			}
		}
		switch {
		case f.Down:
			http.Error(w, "down", http.StatusServiceUnavailable)
		case f.Oversized:
			_, _ = w.Write([]byte(`{"pad":"` + strings.Repeat("x", 2<<20) + `"}`))
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	issuer, there := s.issuerAt(r)
	if !there {
		http.Error(w, "the pool does not have this issuer", http.StatusForbidden)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/.well-known/jwks.json",
		"authorization_endpoint": s.base + "/oauth2/authorize", "token_endpoint": s.base + "/oauth2/token",
		"userinfo_endpoint": s.base + "/oauth2/userInfo", "revocation_endpoint": s.base + "/oauth2/revoke",
		"end_session_endpoint": s.base + "/logout", "response_types_supported": []string{"code"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      scopes,
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	if _, there := s.issuerAt(r); !there {
		http.Error(w, "the pool does not have this issuer", http.StatusForbidden)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var set jose.JSONWebKeySet
	for _, k := range s.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Algorithm: "RS256", Use: "sig"})
	}
	writeJSON(w, http.StatusOK, set)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// uuid returns a random id in the form of Cognito's ids.
func uuid() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

func atHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
