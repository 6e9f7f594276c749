package validator

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenbroker/revocation"
)

// signed is a message of the life's own shape under any key.
func signed(t *testing.T, kid, typ string, payload any) []byte {
	t.Helper()
	raw, err := revocation.SignMessage(keyNamed(kid), kid, typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestHostileMessages: a message of the feed that no current feed key signed
// changes nothing, opens no hole, costs no catch-up, and is counted for what it is.
func TestHostileMessages(t *testing.T) {
	events := []revocation.Event{{Kind: revocation.KindSID, Value: "victim", ExpiresAt: 1 << 40}}
	batch := func(seq uint64) revocation.Batch {
		return revocation.Batch{V: 1, Store: "S", Origin: "o1", Seq: seq, Events: events}
	}
	beat := revocation.Heartbeat{V: 1, Store: "S", Origin: "o1", Head: revocation.MaxSeq, Up: 1 << 40, AtMS: 1 << 42}
	good := signed(t, "f1", revocation.BatchType, batch(2))
	head, rest, _ := bytes.Cut(good, []byte{'.'})
	body, signature, _ := bytes.Cut(rest, []byte{'.'})
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, []byte{'.'}) }
	encode := func(text string) []byte { return []byte(strictBase64.EncodeToString([]byte(text))) }
	es256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	for name, tt := range map[string]struct {
		raw   []byte
		count func(FeedStats) uint64
	}{
		"nothing at all":                  {nil, malformed},
		"no message":                      {[]byte("hello"), malformed},
		"unsigned":                        {join(encode(`{"alg":"none","kid":"f1","typ":"revocations+jws"}`), body, nil), malformed},
		"without its signature":           {join(head, body, nil), malformed},
		"truncated":                       {good[:len(good)-9], malformed},
		"cut in the payload":              {good[:len(head)+20], malformed},
		"damaged payload":                 {join(head, append([]byte("X"), body[1:]...), signature), forged},
		"damaged signature":               {join(head, body, append([]byte("X"), signature[1:]...)), forged},
		"another type":                    {join(encode(`{"alg":"EdDSA","kid":"f1","typ":"heartbeat+jws"}`), body, signature), forged},
		"an access token's type":          {join(encode(`{"alg":"EdDSA","kid":"f1","typ":"at+jwt"}`), body, signature), malformed},
		"under another's key":             {forgedBy(t, "mallory", "f1", batch(2)), forged},
		"by an unknown key":               {signed(t, "f9", revocation.BatchType, batch(2)), unknownKey},
		"by an access key":                {signed(t, "k1", revocation.BatchType, batch(2)), unknownKey},
		"a head of the far future by one": {signed(t, "k1", revocation.HeartbeatType, beat), unknownKey},
		"the same by an ES256 access key": {signedES256(t, es256, "k1"), malformed},
		"seq 2^53":                        {signed(t, "f1", revocation.BatchType, batch(1<<53)), malformed},
		"seq 0":                           {signed(t, "f1", revocation.BatchType, batch(0)), malformed},
		"head 2^53":                       {signed(t, "f1", revocation.HeartbeatType, revocation.Heartbeat{V: 1, Store: "S", Origin: "o1", Head: 1 << 53}), malformed},
		"of a withdrawn key":              {signed(t, "f0", revocation.BatchType, batch(2)), unknownKey},
		"of a compromised key":            {signed(t, "fx", revocation.BatchType, batch(2)), unknownKey},
		"a replay of a life that is over": {signed(t, "f1", revocation.BatchType, revocation.Batch{V: 1, Store: "S", Origin: "o0", Seq: 1, Events: events}), ignored},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *life, s *syncer) {
				l.set(func() { l.origin, l.heads["o0"], l.feedKID, l.kids = "o0", 0, "f0", []string{"fx"} })
				mustStart(t, s)
				time.Sleep(5 * time.Second)
				l.restart("o1")
				l.beat()
				time.Sleep(time.Second)
				l.set(func() { l.feedKID = "f1" }) // f0 leaves the set
				l.revoke("known")
				if name == "a replay of a life that is over" {
					s.Message(tt.raw) // the first is asked about, once: it might be a new life
				}
				l.beatFor(15 * time.Second) // what a new key and a key that left ask for is over
				before, counted, asked := *s.now.Load(), s.counts.stats(), l.asked("/revocations")
				if !sid(s, "known") || tt.count(counted) > 1 {
					t.Fatalf("before: %+v", counted)
				}
				s.Message(tt.raw)
				synctest.Wait()
				time.Sleep(700 * time.Millisecond) // a hole is asked about after 100 ms
				if sid(s, "victim") || s.now.Load().version != before.version || s.now.Load().asOf != before.asOf {
					t.Error("it changed something")
				}
				if n := l.asked("/revocations") - asked; n != 0 {
					t.Errorf("%d catch-ups because of it", n)
				}
				l.beatFor(12 * time.Second)
				if after := s.counts.stats(); tt.count(after) != tt.count(counted)+1 {
					t.Errorf("counted as %+v", after)
				}
				l.revoke("later")
				synctest.Wait()
				if !sid(s, "later") || !isFresh(s) {
					t.Error("what is genuine counts no more")
				}
			})
		})
	}
}

func malformed(s FeedStats) uint64  { return s.Malformed }
func forged(s FeedStats) uint64     { return s.Forged }
func unknownKey(s FeedStats) uint64 { return s.UnknownKey }
func ignored(s FeedStats) uint64    { return s.Ignored }

// forgedBy signs with one key and names another.
func forgedBy(t *testing.T, signer, kid string, payload any) []byte {
	t.Helper()
	raw, err := revocation.SignMessage(keyNamed(signer), kid, revocation.BatchType, payload)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func signedES256(t *testing.T, key *ecdsa.PrivateKey, kid string) []byte {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType(revocation.HeartbeatType))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(`{"v":1,"store":"S","origin":"o1","head":9000000000,"up":1}`))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return []byte(raw)
}

// TestReplays: a recorded feed that is played again, in any order, changes nothing; old
// heartbeats prove only old things.
func TestReplays(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		tape := &recorder{}
		l.set(func() { l.sinks[&subscription{l}] = tape })
		for i := range 20 {
			l.revoke(fmt.Sprint("s", i))
			l.beat()
			time.Sleep(time.Second)
		}
		l.set(func() { l.httpDown = true })
		time.Sleep(20 * time.Second)
		before, counted := *s.now.Load(), s.counts.stats()
		tape.reverse()
		for range 3 {
			for _, raw := range tape.messages {
				s.Message(raw)
			}
		}
		synctest.Wait()
		if *s.now.Load() != before {
			t.Errorf("%+v became %+v", before, *s.now.Load())
		}
		if n := s.counts.stats().Replayed - counted.Replayed; n != uint64(3*len(tape.messages)) {
			t.Errorf("%d of %d counted", n, 3*len(tape.messages))
		}
		time.Sleep(11 * time.Second) // 31 s after the last heartbeat was new
		if isFresh(s) {
			t.Error("fresh by replays")
		}
	})
}

// recorder is a sink that keeps what it hears. The feed calls it under the life's lock.
type recorder struct{ messages [][]byte }

func (r *recorder) Message(raw []byte) { r.messages = append(r.messages, raw) }
func (r *recorder) Gap(error)          {}
func (r *recorder) reverse() {
	for i, j := 0, len(r.messages)-1; i < j; i, j = i+1, j-1 {
		r.messages[i], r.messages[j] = r.messages[j], r.messages[i]
	}
}

// TestAFloodUnderUnknownKeys: 100,000 messages under as many unknown keys in a minute make
// one fetch of the keys a window and take no memory; what is genuine goes on in the meantime, also
// under a key that is new.
func TestAFloodUnderUnknownKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		time.Sleep(5 * time.Second)
		template := string(signed(t, "mallory", revocation.BatchType, revocation.Batch{
			V: 1, Store: "S", Origin: "o1", Seq: 7, Events: []revocation.Event{{Kind: "sid", Value: strings.Repeat("v", 400)}},
		}))
		rest := template[strings.IndexByte(template, '.'):]
		memory, keys, asked := heap(), l.asked("/revocations/jwks.json"), l.asked("/revocations")
		const seconds, each = 60, 1700
		for second := range seconds {
			for i := range each {
				header := fmt.Sprintf(`{"alg":"EdDSA","kid":"m%d-%d","typ":"revocations+jws"}`, second, i)
				s.Message([]byte(strictBase64.EncodeToString([]byte(header)) + rest))
				if i%850 == 0 {
					synctest.Wait()
				}
			}
			if second == 30 {
				l.set(func() { l.feedKID = "f2" })
			}
			l.revoke(fmt.Sprint("genuine", second))
			l.beat()
			time.Sleep(time.Second)
		}
		grown := heap() - memory
		// The window doubles from 1 s to 10 s, and again when the keys have changed.
		if n := l.asked("/revocations/jwks.json") - keys; n > 14 || n == 0 {
			t.Errorf("%d fetches of the feed keys in a minute", n)
		}
		// The new key: one full answer as one left, and deltas until it is known.
		if n := l.asked("/revocations") - asked; n > 30 {
			t.Errorf("%d catch-ups", n)
		}
		if grown > 2<<20 {
			t.Errorf("%d bytes more in use", grown)
		}
		time.Sleep(15 * time.Second)
		for second := range seconds {
			if !sid(s, fmt.Sprint("genuine", second)) {
				t.Errorf("%d is not known", second)
			}
		}
		got := s.counts.stats()
		if got.UnknownKey < seconds*each || got.Overflowed != 0 || !isFresh(s) {
			t.Errorf("%+v", got)
		}
		t.Logf("%d bytes more; %+v", grown, got)
	})
}

// TestFloodFasterThanItCanBeProcessed: what does not fit is dropped, and costs a catch-up
// each quarter of a second at most.
func TestFloodFasterThanItCanBeProcessed(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		raw := []byte("no message at all")
		asked := l.asked("/revocations")
		for second := range 10 {
			for range 10 * inboxSize {
				s.Message(raw)
			}
			l.revoke(fmt.Sprint("genuine", second))
			time.Sleep(time.Second)
			if !sid(s, fmt.Sprint("genuine", second)) {
				t.Errorf("%d is not known a second later", second)
			}
		}
		if n := l.asked("/revocations") - asked; n == 0 || n > 40 {
			t.Errorf("%d catch-ups in 10 s", n)
		}
		got := s.counts.stats()
		if got.Overflowed == 0 || got.Malformed == 0 || got.Malformed+got.Overflowed < 10*10*inboxSize || !isFresh(s) {
			t.Errorf("%+v", got)
		}
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
