package simtest_test

import (
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"tokenbroker/revocation"
)

// twin is the model: it has every token and every revocation.
type twin struct{ tokens []*token }

type token struct {
	revocation.Subject
	store string
	keys  *keyring // that signed it
	exp   int64    // Unix s by the broker's clock

	revoked bool            // an event that hits it is on disk
	acked   bool            // and the caller knows,
	ackedAt time.Duration   // since then
	refused map[int]refusal // by each service
}

// refusal is when a run of a service first refused a token as revoked.
type refusal struct {
	life int
	at   time.Duration
}

// leeway is the validators' leeway, and margin how long an event outlives its tokens (s).
const (
	leeway = 1
	margin = 2
)

func (tw *twin) add(store string, now int64, life int64, epoch int64, choice int) *token {
	n := len(tw.tokens)
	t := &token{store: store, exp: now + life, refused: make(map[int]refusal)}
	t.JTI = fmt.Sprintf("00000000-0000-4000-8000-%012x", n)
	session := fmt.Sprintf("%016d", n)
	if n%2 == 1 && tw.tokens[n-1].store == store && !tw.tokens[n-1].revoked { // a refresh
		session = fmt.Sprintf("%016d", n-1)
	}
	t.SID = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString([]byte(session)))
	if n/2%3 == 0 {
		t.JTI, t.SID = "j"+t.JTI, "s"+session // kept as texts
	}
	t.Sub = fmt.Sprintf("user-%d", choice%5)
	t.ClientID = fmt.Sprintf("app-%d", choice%2)
	t.SEP, t.CEP = epoch, epoch
	tw.tokens = append(tw.tokens, t)
	return t
}

// hit returns what an event of a store revokes. Epochs are counters of one store.
func (tw *twin) hit(store string, e revocation.Event) (hit []*token) {
	for _, t := range tw.tokens {
		same := t.store == store
		switch e.Kind {
		case revocation.KindJTI:
			same = t.JTI == e.Value
		case revocation.KindSID:
			same = t.SID == e.Value
		case revocation.KindKID:
			same = t.KID == e.Value
		case revocation.KindSub:
			same = same && t.Sub == e.Value && t.SEP < e.Epoch
		case revocation.KindClient:
			same = same && t.ClientID == e.Value && t.CEP < e.Epoch
		case revocation.KindAll:
			same = same && t.SEP < e.Epoch
		}
		if same {
			hit = append(hit, t)
		}
	}
	return hit
}

// ack records that callers know that the tokens are revoked.
func ack(tokens []*token, now time.Duration) {
	for _, t := range tokens {
		if !t.acked {
			t.acked, t.ackedAt = true, now
		}
	}
}
