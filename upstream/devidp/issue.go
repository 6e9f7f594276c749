package devidp

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Tokens is the answer of the token endpoint.
type Tokens struct {
	ID      string `json:"id_token,omitempty"` // empty without the scope openid
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token,omitempty"`
	Expires int    `json:"expires_in"`
	Type    string `json:"token_type"`
}

// TokensFor issues tokens to a user without a browser, as for a SPA with its own Cognito library.
func (s *Server) TokensFor(username, client string) (Tokens, error) {
	for _, u := range s.cfg.Users {
		if u.Username == username {
			return s.issue(grant{user: u, client: client, scope: "openid email", originID: uuid(), authTime: s.cfg.Now()}, true)
		}
	}
	return Tokens{}, errUser
}

// issue signs the tokens of a grant, with claims as documented by Cognito.
func (s *Server) issue(g grant, withRefresh bool) (Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, now := s.faults, s.cfg.Now()
	if f.Expired {
		now = now.Add(-2 * life)
	}
	either := func(wrong bool, bad, good string) string {
		if wrong {
			return bad
		}
		return good
	}
	issuer := either(f.WrongIssuer, s.issuer()+"x", s.issuer())
	common := func(use string) map[string]any {
		claims := map[string]any{
			"sub": g.user.Sub, "iss": issuer, "token_use": use, "origin_jti": g.originID, "event_id": uuid(), "jti": uuid(),
			"auth_time": g.authTime.Unix(), "iat": now.Unix(), "exp": now.Add(life).Unix(),
		}
		if len(g.user.Groups) > 0 {
			claims["cognito:groups"] = g.user.Groups
		}
		return claims
	}
	access := common(either(f.WrongUse, "id", "access"))
	access["client_id"], access["scope"], access["version"], access["username"] = g.client, g.scope, 2, g.user.Username
	if f.ForeignSubject {
		access["sub"] = uuid()
	}
	id := common(either(f.WrongUse, "access", "id"))
	id["aud"] = either(f.WrongAudience, "another-client", g.client)
	id["cognito:username"], id["email"], id["email_verified"] = g.user.Username, g.user.Email, g.user.EmailVerified && !f.EmailUnverified
	if g.nonce != "" {
		id["nonce"] = either(f.WrongNonce, "another-nonce", g.nonce)
	}
	accessToken, err := s.sign(access)
	if err != nil {
		return Tokens{}, err
	}
	tokens := Tokens{Access: accessToken, Expires: int(life.Seconds()), Type: "Bearer"}
	if slices.Contains(strings.Fields(g.scope), "openid") {
		id["at_hash"] = atHash(accessToken)
		if tokens.ID, err = s.sign(id); err != nil {
			return Tokens{}, err
		}
	}
	if withRefresh {
		tokens.Refresh = randomText(32)
		s.refresh.put(tokens.Refresh, g, s.cfg.Now().Add(refreshLife))
	}
	return tokens, nil
}

// sign returns a compact JWS signed with the first key. The caller holds mu.
func (s *Server) sign(claims map[string]any) (string, error) {
	kid := s.keys[0].kid
	if s.faults.UnknownKID {
		kid = randomText(18)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: s.keys[0].private, KeyID: kid}}, nil)
	if err != nil {
		return "", fmt.Errorf("devidp: making a signer: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("devidp: encoding claims: %w", err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("devidp: signing: %w", err)
	}
	return jws.CompactSerialize()
}
