package validatortest

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

// Introspections counts the requests to POST /oauth2/introspect that were answered.
func (i *Issuer) Introspections() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.introspections
}

// SetIntrospectionDown makes every introspection fail with 503, or work again.
func (i *Issuer) SetIntrospectionDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.introspectionDown = down
}

// SetCatchUpDown makes every catch-up fail with 503, or work again. With the feed down,
// too, a validator becomes stale, and can still introspect.
func (i *Issuer) SetCatchUpDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.catchUpDown = down
}

// introspect answers as RFC 7662 has it, for the one client that there is.
func (i *Issuer) introspect(w http.ResponseWriter, r *http.Request) {
	if !isClient(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="introspection"`)
		http.Error(w, "client id and secret wanted", http.StatusUnauthorized)
		return
	}
	token := r.PostFormValue("token")
	if token == "" {
		http.Error(w, "token wanted", http.StatusBadRequest)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.introspectionDown {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	i.introspections++
	claims, active := i.good(token)
	if !active {
		writeJSON(w, map[string]any{"active": false})
		return
	}
	claims["active"], claims["token_type"] = true, "Bearer"
	writeJSON(w, claims)
}

// good judges a token as the broker does. It is called with mu held.
func (i *Issuer) good(token string) (claims map[string]any, ok bool) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256, jose.PS256})
	if err != nil {
		return nil, false
	}
	kid := signed.Signatures[0].Header.KeyID
	for _, k := range i.keys {
		if k.kid != kid {
			continue
		}
		payload, err := signed.Verify(k.private.Public())
		if err != nil {
			return nil, false
		}
		var c struct {
			Subject  string `json:"sub"`
			ID       string `json:"jti"`
			SID      string `json:"sid"`
			ClientID string `json:"client_id"`
			Expires  int64  `json:"exp"`
			SEP      int64  `json:"sep"`
			CEP      int64  `json:"cep"`
		}
		if json.Unmarshal(payload, &c) != nil || json.Unmarshal(payload, &claims) != nil {
			return nil, false
		}
		s := revocation.Subject{JTI: c.ID, SID: c.SID, Sub: c.Subject, ClientID: c.ClientID, KID: kid, SEP: c.SEP, CEP: c.CEP}
		return claims, time.Now().Unix() < c.Expires && !i.denylist.Revoked(s)
	}
	return nil, false
}
