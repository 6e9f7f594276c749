package devidp

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/internal/basicauth"
)

func writeError(w http.ResponseWriter, code string) {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": code})
}

// token is the token endpoint (RFC 6749 §3.2) for authorization_code and refresh_token. As at
// Cognito, each error is a 400, and a refresh keeps the refresh token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	client, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	form, now := r.PostForm, s.cfg.Now()
	var g grant
	renewed := false
	switch form.Get("grant_type") {
	case "authorization_code":
		if form.Get("code") == "" || form.Get("redirect_uri") == "" {
			writeError(w, "invalid_request")
			return
		}
		s.mu.Lock()
		g, ok = s.codes.take(form.Get("code"), now) // a code can be used once, also if the exchange fails
		s.mu.Unlock()
		ok = ok && g.redirectURI == form.Get("redirect_uri") && verifierMatches(g, form.Get("code_verifier"))
	case "refresh_token":
		if form.Get("refresh_token") == "" {
			writeError(w, "invalid_request")
			return
		}
		s.mu.Lock()
		g, ok = s.refresh.get(form.Get("refresh_token"), now)
		s.mu.Unlock()
		g.nonce, renewed = "", true
	default:
		writeError(w, "unsupported_grant_type")
		return
	}
	if !ok || g.client != client.ID {
		writeError(w, "invalid_grant")
		return
	}
	tokens, err := s.issue(g, !renewed)
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": "server_error"})
		return
	}
	writeJSON(w, http.StatusOK, tokens)
}

// authenticate reads the form, finds the client and checks its secret, if it has one. If it returns
// false, it has written the answer.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) (Client, bool) {
	if err := r.ParseForm(); err != nil || hasRepeatedParameter(r.PostForm) {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			writeJSON(w, http.StatusRequestEntityTooLarge, map[string]string{"error": "invalid_request"})
		} else {
			writeError(w, "invalid_request")
		}
		return Client{}, false
	}
	id, secrets, basic := basicauth.Read(r)
	if !basic {
		id, secrets = r.PostForm.Get("client_id"), []string{r.PostForm.Get("client_secret")}
	}
	client, ok := s.client(id)
	if !ok || !slices.Contains(secrets, client.Secret) {
		writeError(w, "invalid_client")
		return Client{}, false
	}
	return client, true
}

// verifierMatches checks the code verifier (RFC 7636 §4.6).
func verifierMatches(g grant, verifier string) bool {
	if g.challenge == "" {
		return verifier == ""
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]) == g.challenge
}

// revoke deletes a refresh token of this client. An unknown token is not an error (RFC 7009 §2.2).
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	client, ok := s.authenticate(w, r)
	if !ok {
		return
	}
	token, now := r.PostForm.Get("token"), s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if g, ok := s.refresh.get(token, now); ok {
		if g.client != client.ID {
			writeError(w, "unauthorized_client")
			return
		}
		s.refresh.take(token, now)
	}
	w.WriteHeader(http.StatusOK)
}

// userInfo accepts an access token of this pool that has the scope openid. As at Cognito,
// email_verified is a string here and a boolean in the id token.
func (s *Server) userInfo(w http.ResponseWriter, r *http.Request) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims, ok := s.verify(token)
	i := slices.IndexFunc(s.cfg.Users, func(u User) bool { return u.Sub == claims.Sub })
	if !bearer || !ok || i < 0 || !slices.Contains(strings.Fields(claims.Scope), "openid") {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
		return
	}
	u := s.cfg.Users[i]
	writeJSON(w, http.StatusOK, map[string]any{
		"sub": u.Sub, "username": u.Username, "email": u.Email, "email_verified": strconv.FormatBool(u.EmailVerified),
	})
}

// accessClaims are the claims that userInfo reads.
type accessClaims struct {
	Sub   string `json:"sub"`
	Use   string `json:"token_use"`
	Scope string `json:"scope"`
	Exp   int64  `json:"exp"`
}

// verify reads and verifies an access token of this pool.
func (s *Server) verify(token string) (accessClaims, bool) {
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return accessClaims{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		payload, err := jws.Verify(k.private.Public())
		if err != nil {
			continue
		}
		var claims accessClaims
		if err := json.Unmarshal(payload, &claims); err != nil {
			return accessClaims{}, false
		}
		return claims, claims.Use == "access" && s.cfg.Now().Unix() < claims.Exp
	}
	return accessClaims{}, false
}
