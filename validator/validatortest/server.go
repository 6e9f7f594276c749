package validatortest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/internal/basicauth"
	"tokenbroker/revocation"
)

// MaxLifetime is the longest exp − iat that the Issuer announces, in seconds.
const MaxLifetime = 900

func (i *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.discovery)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", i.discovery)
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		d := i.jwks()
		i.mu.Unlock()
		d.serve(w, r)
	})
	mux.HandleFunc("GET /revocations/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		i.feedJWKS().serve(w, r)
	})
	mux.HandleFunc("GET /revocations", i.catchUp)
	mux.HandleFunc("POST /oauth2/introspect", i.introspect)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		down := i.down
		i.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// SetHTTPDown makes every request fail with 503, or work again.
func (i *Issuer) SetHTTPDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

func (i *Issuer) discovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]any{
		"issuer":                    i.URL(),
		"jwks_uri":                  i.URL() + "/.well-known/jwks.json",
		"introspection_endpoint":    i.URL() + "/oauth2/introspect",
		"access_token_max_lifetime": MaxLifetime,
	})
}

// document is a key set as it is served.
type document struct {
	body []byte
	etag string
}

func (d document) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", d.etag)
	w.Header().Set("Cache-Control", "public, max-age=300")
	if r.Header.Get("If-None-Match") == d.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(d.body)
}

// jwks is called with mu held.
func (i *Issuer) jwks() document {
	var keys []jose.JSONWebKey
	for _, k := range i.keys {
		keys = append(keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Algorithm: string(k.alg), Use: "sig"})
	}
	return i.newDocument(keys)
}

func (i *Issuer) feedJWKS() document {
	return i.newDocument([]jose.JSONWebKey{
		{Key: i.feedKey.Public(), KeyID: i.feedKID, Algorithm: "EdDSA", Use: "sig"},
	})
}

func (i *Issuer) newDocument(keys []jose.JSONWebKey) document {
	body, err := json.Marshal(map[string]any{"keys": keys, "store": i.store})
	if err != nil {
		panic("validatortest: encoding a key set: " + err.Error())
	}
	sum := sha256.Sum256(body)
	return document{body: body, etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// isClient reports whether r has the credentials of the only client.
func isClient(r *http.Request) bool {
	id, secrets, _ := basicauth.Read(r)
	return id == ClientID && slices.Contains(secrets, ClientSecret)
}

func (i *Issuer) catchUp(w http.ResponseWriter, r *http.Request) {
	if !isClient(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="revocations"`)
		http.Error(w, "client id and secret wanted", http.StatusUnauthorized)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.catchUpDown {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	after, known := i.position(r.URL.Query().Get("after"))
	now := time.Now()
	writeJSON(w, revocation.Answer{
		V: revocation.Version, Store: i.store, Origin: i.origin,
		Up: now.Sub(i.started).Milliseconds(), AtMS: now.UnixMilli(), Full: !known,
		Origins: []revocation.OriginHead{{Origin: i.origin, Head: uint64(len(i.events))}},
		Kids:    append([]string{}, i.gone...),
		Events:  append([]revocation.Event{}, slices.Concat(i.events[after:]...)...),
	})
}

// position returns how many batches a reader has applied, and whether they are of this
// origin. It is called with mu held.
func (i *Issuer) position(after string) (batches int, known bool) {
	for one := range strings.SplitSeq(after, ",") {
		origin, seq, _ := strings.Cut(one, ".")
		n, err := strconv.Atoi(seq)
		if origin == i.origin && err == nil && n >= 0 && n <= len(i.events) {
			return n, true
		}
	}
	return 0, false
}

func writeJSON(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body)
}

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

// SetCatchUpDown makes every catch-up fail with 503, or work again. If the feed is also down,
// a validator becomes stale, and can still introspect.
func (i *Issuer) SetCatchUpDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.catchUpDown = down
}

// introspect answers according to RFC 7662, only for the configured client.
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
	claims, active := i.active(token)
	if !active {
		writeJSON(w, map[string]any{"active": false})
		return
	}
	claims["active"], claims["token_type"] = true, "Bearer"
	writeJSON(w, claims)
}

// active checks a token as the broker does. It is called with mu held.
func (i *Issuer) active(token string) (claims map[string]any, ok bool) {
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
