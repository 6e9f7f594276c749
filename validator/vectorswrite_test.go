package validator

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

var writeVectorsFlag = flag.Bool("write-vectors", false, "write "+vectorsFile+" again, with new keys")

func TestWriteVectors(t *testing.T) {
	if !*writeVectorsFlag {
		t.Skip("only with -write-vectors")
	}
	w := newVectorWriter(t)
	w.ecdsa()
	w.ed25519()
	w.rsa()
	w.jose()
	w.json()
	keys := []jose.JSONWebKey{
		{Key: w.ec.Public(), KeyID: "ec", Algorithm: "ES256", Use: "sig"},
		{Key: w.ed.Public(), KeyID: "ed", Algorithm: "EdDSA", Use: "sig"},
		{Key: w.rs.Public(), KeyID: "rs", Algorithm: "RS256", Use: "sig"},
		{Key: w.rs.Public(), KeyID: "ps", Algorithm: "PS256", Use: "sig"},
	}
	jwks, err := json.Marshal(map[string]any{"store": "vectors", "keys": keys})
	w.must(err)
	slices.SortFunc(w.all, func(a, b vector) int { return strings.Compare(a.Name, b.Name) })
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "\t")
	w.must(enc.Encode(vectors{
		Note:   "made by go test ./validator -run TestWriteVectors -write-vectors",
		Issuer: "https://issuer", Audience: "test", NowMS: brokerNow * 1000, JWKS: jwks, Vectors: w.all,
	}))
	w.must(os.MkdirAll("testdata", 0o755))
	w.must(os.WriteFile(vectorsFile, out.Bytes(), 0o644))
}

type vectorWriter struct {
	*testing.T
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
	rs  *rsa.PrivateKey
	n   int
	all []vector
}

func newVectorWriter(t *testing.T) *vectorWriter {
	w := &vectorWriter{T: t}
	var err error
	w.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	_, w.ed, err = ed25519.GenerateKey(rand.Reader)
	w.must(err)
	w.rs, err = rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	return w
}

func (w *vectorWriter) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *vectorWriter) add(name, why, token string, valid bool) {
	w.all = append(w.all, vector{Name: name, Why: why, Token: token, Valid: valid})
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// claims are good ones, another token's each time.
func (w *vectorWriter) claims() string {
	w.n++
	return fmt.Sprintf(`{"iss":"https://issuer","sub":"s","aud":"test","client_id":"c","jti":"%d","iat":%d,"exp":%d,"sep":1,"cep":1}`,
		w.n, brokerNow, brokerNow+300)
}

func header(alg, kid string) string {
	return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, kid)
}

// signed is what a token's signature covers.
func (w *vectorWriter) signed(alg, kid string) string {
	return b64([]byte(header(alg, kid))) + "." + b64([]byte(w.claims()))
}
