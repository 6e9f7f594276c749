package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// TestAStreamOfTheOperators checks that a JetStream stream on the subject, created as in
// docs/operate.md, keeps the events over a restart of the broker and of the NATS server. A foreign
// consumer, which uses no code of this module and only knows the address of the feed keys, replays
// the events from the start, verifies each, and sees from the numbers that none is missing.
func TestAStreamOfTheOperators(t *testing.T) {
	l := newLab(t)
	kept := t.TempDir()
	l.serveNATS(&server.Options{JetStream: true, StoreDir: kept})
	l.makeStream()
	l.startBroker()
	l.checkReady("ready")
	want := map[string]bool{}
	logOffs := func(n int) {
		for range n {
			b := l.signIn()
			want[claimOf(t, b.access, "sid")] = true
			if status := b.logOff(); status != http.StatusOK {
				t.Fatalf("log-off: %d", status)
			}
		}
	}
	logOffs(5)
	l.stopBroker()
	l.stopNATS()
	l.serveNATS(&server.Options{JetStream: true, StoreDir: kept})
	l.startBroker() // another origin
	l.checkReady("ready")
	logOffs(3)

	got, lives, refused := l.replay(len(want))
	if len(lives) != 2 || refused != 0 {
		t.Errorf("%d origins, %d messages refused", len(lives), refused)
	}
	for origin, seqs := range lives {
		for i, seq := range seqs {
			if seq != uint64(i+1) {
				t.Errorf("origin %s: %v", origin, seqs)
				break
			}
		}
	}
	for sid := range want {
		if !got[sid] {
			t.Errorf("session %s is not among the events", sid)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d sessions, want %d", len(got), len(want))
	}

	// A client that may publish can add messages to the stream, but consumers do not accept them.
	nc := l.dialNATS()
	if err := nc.Publish("tokenbroker.revocation.forged", []byte("e30.e30.AAAA")); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if again, _, refused := l.replay(len(want) + 1); len(again) != len(want) || refused != 1 {
		t.Errorf("with a forged message: %d sessions, %d refused", len(again), refused)
	}
}

func (l *lab) dialNATS() *nats.Conn {
	l.t.Helper()
	nc, err := nats.Connect(l.natsURL())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(nc.Close)
	return nc
}

// makeStream creates the stream as the command in docs/operate.md does.
func (l *lab) makeStream() {
	l.t.Helper()
	js, err := l.dialNATS().JetStream()
	if err != nil {
		l.t.Fatal(err)
	}
	_, err = js.AddStream(&nats.StreamConfig{
		Name: "TOKENBROKER", Subjects: []string{"tokenbroker.revocation.>"}, Storage: nats.FileStorage,
		Retention: nats.LimitsPolicy, MaxAge: 90 * 24 * time.Hour,
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

// replay is the foreign consumer, which uses only nats.go and go-jose. It waits for the stream's first n
// messages, because NATS stores a message after the client that published it went on. It returns the
// sessions that were revoked and each origin's numbers in the order of the stream.
func (l *lab) replay(n int) (sessions map[string]bool, lives map[string][]uint64, refused int) {
	l.t.Helper()
	resp, err := http.Get("http://" + l.listen + "/revocations/jwks.json")
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	document, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(document, &keys); err != nil {
		l.t.Fatal(err)
	}
	js, err := l.dialNATS().JetStream()
	if err != nil {
		l.t.Fatal(err)
	}
	sub, err := js.SubscribeSync("tokenbroker.revocation.>", nats.OrderedConsumer(), nats.DeliverAll())
	if err != nil {
		l.t.Fatal(err)
	}
	sessions, lives = map[string]bool{}, map[string][]uint64{}
	for range n {
		m, err := sub.NextMsg(patience)
		if err != nil {
			l.t.Fatal(err)
		}
		payload, ok := verified(m.Data, keys)
		if !ok {
			refused++
			continue
		}
		var batch struct {
			Origin string
			Seq    uint64
			Events []struct{ Kind, Value string }
		}
		if err := json.Unmarshal(payload, &batch); err != nil {
			l.t.Fatal(err)
		}
		lives[batch.Origin] = append(lives[batch.Origin], batch.Seq)
		for _, e := range batch.Events {
			if e.Kind == "sid" {
				sessions[e.Value] = true
			}
		}
	}
	return sessions, lives, refused
}

// verified returns the payload of a compact JWS of a batch that one of the feed keys signed.
func verified(raw []byte, keys jose.JSONWebKeySet) ([]byte, bool) {
	jws, err := jose.ParseSignedCompact(string(raw), []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || jws.Signatures[0].Header.ExtraHeaders[jose.HeaderType] != "revocations+jws" {
		return nil, false
	}
	key := keys.Key(jws.Signatures[0].Header.KeyID)
	if len(key) != 1 {
		return nil, false
	}
	payload, err := jws.Verify(key[0].Key)
	return payload, err == nil
}

// claimOf reads a claim of a token, unverified.
func claimOf(t *testing.T, token, name string) string {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &claims); err != nil {
		t.Fatal(err)
	}
	value, _ := claims[name].(string)
	return value
}
