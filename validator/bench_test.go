package validator

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

// benchSource has one key and one view, which it returns without making it again, as the
// syncer does.
type benchSource struct {
	fixed view
	alg   string
	key1  crypto.Signer
	deny  *revocation.Denylist
}

func (s *benchSource) key(_ context.Context, kid string) (verificationKey, error) {
	return verificationKey{kid: kid, alg: jose.SignatureAlgorithm(s.alg), public: s.key1.Public()}, nil
}
func (s *benchSource) view() *view                    { return &s.fixed }
func (s *benchSource) denylist() *revocation.Denylist { return s.deny }

// newBenchValidator returns a Validator that stays fresh for an hour, with its own cache.
func newBenchValidator(tb testing.TB, alg string) (*Validator, *benchSource) {
	tb.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "RS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		tb.Fatal(err)
	}
	s := &benchSource{alg: alg, key1: private, deny: revocation.NewCappedDenylist(defaultDenylistSize), fixed: aged(0, brokerNow*1000)}
	return newValidator("https://login.example.com", []string{"orders"}, defaultCacheSize, newViewBackend(s, time.Hour)), s
}

// benchToken is a token of about 1,000 characters, of which the broker signs the like,
// without its signature.
func benchToken(alg string, n int) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc(fmt.Appendf(nil, `{"alg":%q,"kid":"es256-20251101-7f3a9c","typ":"at+jwt"}`, alg)) + "." + enc(fmt.Appendf(nil,
		`{"iss":"https://login.example.com","sub":"0190a1b2-c3d4-7e5f-8a9b-%012x","aud":["orders","invoices"],"exp":%d,"iat":%d,"nbf":%d,`+
			`"jti":"0190a1b2-c3d4-7e5f-8a9b-%012x","client_id":"web-shop","sid":"%026d","scope":"openid profile email orders:read orders:write",`+
			`"auth_time":%d,"acr":"urn:mace:incommon:iap:silver","amr":["pwd","otp"],"sep":1,"cep":1,"email":"ada.lovelace@example.com",`+
			`"https://example.com/groups":["engineering","on-call","%064d"],"https://example.com/tenant":"north-%06d"}`,
		n, brokerNow+3000, brokerNow, brokerNow, n, n, brokerNow, n, n))
}

// sign appends the signature.
func (s *benchSource) sign(tb testing.TB, signed string) string {
	tb.Helper()
	var signature []byte
	var err error
	digest := sha256.Sum256([]byte(signed))
	switch key := s.key1.(type) {
	case *ecdsa.PrivateKey:
		r, t, e := ecdsa.Sign(rand.Reader, key, digest[:])
		signature, err = append(r.FillBytes(make([]byte, 32)), t.FillBytes(make([]byte, 32))...), e
	case ed25519.PrivateKey:
		signature = ed25519.Sign(key, []byte(signed))
	default:
		signature, err = key.Sign(rand.Reader, digest[:], crypto.SHA256)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// remember puts tokens into the cache as if their signatures had been checked, which for
// 100,000 of them would take seconds.
func remember(tb testing.TB, v *Validator, live int) []string {
	tb.Helper()
	tokens := make([]string, live)
	signature := make([]byte, 64)
	for i := range tokens {
		_, _ = rand.Read(signature)
		tokens[i] = benchToken("EdDSA", i) + "." + base64.RawURLEncoding.EncodeToString(signature)
		t, err := parseToken(tokens[i])
		if err != nil {
			tb.Fatal(err)
		}
		claims, err := newClaims(t)
		if err != nil {
			tb.Fatal(err)
		}
		key, _ := v.backend.key(tb.Context(), t.kid)
		r := v.backend.read(0)
		v.cache.put(tokens[i], claims, key, r.version, r.nowMS)
	}
	found := tokens[:0]
	for _, token := range tokens {
		if v.cache.find(token) != nil { // a few may have been in the way of others
			found = append(found, strings.Clone(token)) // what a request brings is another string
		}
	}
	if len(found) < live-live/1000 {
		tb.Fatalf("%d of %d tokens are in the cache", len(found), live)
	}
	return found
}

// BenchmarkTimeSince is the floor of a hit, which cannot do without one clock reading.
func BenchmarkTimeSince(b *testing.B) {
	start := time.Now()
	var total time.Duration
	for b.Loop() {
		total += time.Since(start)
	}
	if total < 0 {
		b.Fatal("time ran back")
	}
}

// BenchmarkSeenBefore shows remembered tokens in an order that no cache line foresees.
// "from memory" takes each from its own string, at 100 k as cold as the one it is
// compared with; "from a request" copies it, outside the time, to where the server of a
// request has just read it.
func BenchmarkSeenBefore(b *testing.B) {
	for _, live := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("live=%d/from memory", live), func(b *testing.B) {
			v, _ := newBenchValidator(b, "EdDSA")
			tokens := remember(b, v, live)
			ctx := b.Context()
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n += 7919; n >= len(tokens) {
					n %= len(tokens)
				}
				if _, err := v.Validate(ctx, tokens[n]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(v.verified.Load())/float64(b.N), "signatures/op")
		})
		b.Run(fmt.Sprintf("live=%d/from a request", live), func(b *testing.B) {
			v, _ := newBenchValidator(b, "EdDSA")
			tokens := remember(b, v, live)
			ctx := b.Context()
			b.ReportAllocs()
			var buffers [32][]byte
			n, hits := 0, 0
			var spent time.Duration
			for b.Loop() {
				for i := range buffers {
					if n += 7919; n >= len(tokens) {
						n %= len(tokens)
					}
					buffers[i] = append(buffers[i][:0], tokens[n]...)
				}
				start := time.Now()
				for _, buffer := range buffers {
					if _, err := v.Validate(ctx, unsafe.String(&buffer[0], len(buffer))); err != nil {
						b.Fatal(err)
					}
				}
				spent += time.Since(start)
				hits += len(buffers)
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(hits), "ns/hit")
			b.ReportMetric(float64(v.verified.Load())/float64(hits), "signatures/hit")
		})
	}
}

// BenchmarkFirstSight pairs each first sight with the raw check of the same signature, so
// that both meet the same machine, and reports their ratio.
func BenchmarkFirstSight(b *testing.B) {
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			const live = 2000
			v, s := newBenchValidator(b, alg)
			tokens := make([]string, live)
			for i := range tokens {
				tokens[i] = s.sign(b, benchToken(alg, i))
			}
			var raw, ours time.Duration
			n := 0
			for b.Loop() {
				if n%live == 0 {
					v.cache = newCache(defaultCacheSize)
				}
				text := tokens[n%live]
				if n%2 == 0 {
					raw += timed(b, func() error { return s.verifyRaw(text) })
				}
				ours += timed(b, func() error { _, err := v.Validate(b.Context(), text); return err })
				if n%2 == 1 {
					raw += timed(b, func() error { return s.verifyRaw(text) })
				}
				n++
			}
			if v.verified.Load() != uint64(n) {
				b.Fatalf("%d signatures for %d tokens", v.verified.Load(), n)
			}
			b.ReportMetric(float64(raw)/float64(n), "ns/raw")
			b.ReportMetric(float64(ours)/float64(n), "ns/first")
			b.ReportMetric(float64(ours)/float64(raw), "x-raw")
			v.cache = newCache(defaultCacheSize)
			ctx := b.Context()
			b.ReportMetric(testing.AllocsPerRun(live-1, func() {
				n++
				if _, err := v.Validate(ctx, tokens[n%live]); err != nil {
					b.Fatal(err)
				}
			}), "allocs/first")
		})
	}
}

func timed(b *testing.B, f func() error) time.Duration {
	start := time.Now()
	err := f()
	spent := time.Since(start)
	if err != nil {
		b.Fatal(err)
	}
	return spent
}

// verifyRaw is what no validator can do without: the signature's base64 and its check.
func (s *benchSource) verifyRaw(text string) error {
	dot := strings.LastIndexByte(text, '.')
	signature, err := strictBase64.DecodeString(text[dot+1:])
	if err != nil {
		return err
	}
	switch key := s.key1.Public().(type) {
	case ed25519.PublicKey:
		if !ed25519.Verify(key, []byte(text[:dot]), signature) {
			return errSignature
		}
	case *ecdsa.PublicKey:
		digest := sha256.Sum256([]byte(text[:dot]))
		if !ecdsa.VerifyASN1(key, digest[:], appendDER(nil, signature)) {
			return errSignature
		}
	case *rsa.PublicKey:
		digest := sha256.Sum256([]byte(text[:dot]))
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature)
	}
	return nil
}

// steadySource returns one view without making it again, as the real one does.
type steadySource struct {
	*fakeSource
	fixed *view
}

func (s *steadySource) view() *view { return s.fixed }

// BenchmarkFind is the part of a hit that is not the clock.
func BenchmarkFind(b *testing.B) {
	for _, live := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			v, _ := newBenchValidator(b, "EdDSA")
			tokens := remember(b, v, live)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n += 7919; n >= len(tokens) {
					n %= len(tokens)
				}
				if v.cache.find(tokens[n]) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkParse measures the cost of a first sight without the signature, with another token each
// time: no branch is foreseen that a real one would not.
func BenchmarkParse(b *testing.B) {
	_, s := newBenchValidator(b, "EdDSA")
	texts := make([]string, 2000)
	for i := range texts {
		texts[i] = s.sign(b, benchToken("EdDSA", i*7919))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n++; n == len(texts) {
			n = 0
		}
		t, err := parseToken(texts[n])
		if err != nil {
			b.Fatal(err)
		}
		if _, err := newClaims(t); err != nil {
			b.Fatal(err)
		}
	}
}
