package ledger_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/store/badgerstore"
)

func inMemory(t *testing.T) *badgerstore.Store {
	s, err := badgerstore.Open(badgerstore.Config{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// mixed returns events of all kinds and forms. Their ids are spread, as those of a broker are.
func mixed(r *rand.Rand, count int) []revocation.Event {
	events := []revocation.Event{{Kind: revocation.KindAll, At: 1, ExpiresAt: 2000, Epoch: 4}}
	for n := range int64(count) {
		id := make([]byte, 26)
		for i := range id {
			id[i] = "abcdefghijklmnopqrstuvwxyz234567"[r.IntN(32)]
		}
		id[25] = 'a'
		e := revocation.Event{Kind: revocation.KindSID, Value: string(id), At: 1000 + r.Int64N(100), ExpiresAt: 2000 + r.Int64N(100), Reason: revocation.ReasonLogoff}
		switch n % 9 {
		case 0:
			e.Kind, e.Epoch = revocation.KindSub, n+1
		case 1:
			e.Value, e.Reason = fmt.Sprint("ä ", n), "another"
		case 2:
			e.Kind = revocation.KindKID
		case 3, 4:
			e.Kind, e.Value = revocation.KindJTI, fmt.Sprintf("%08x-c3d4-7e5f-8a9b-%012x", r.Uint32(), n)
		case 5:
			e.Kind, e.By = revocation.KindClient, "somebody"
		}
		events = append(events, e)
	}
	return events
}

// listed hides that a store can be read in parts.
type listed struct{ store.Store }

// TestAnswerInPartsHasTheBytesOfAnAnswerInPages checks that both ways produce the same bytes.
func TestAnswerInPartsHasTheBytesOfAnAnswerInPages(t *testing.T) {
	s := inMemory(t)
	still := func(c *ledger.Config) {
		c.Wall = func() time.Time { return time.Unix(1500, 0) }
		c.Mono = func() time.Duration { return 0 }
		c.Kids = func() []string { return []string{"k1"} }
	}
	p := start(t, s, still)
	for _, count := range []int{0, 1, 20, 3000} {
		for events := mixed(rand.New(rand.NewPCG(1, uint64(count))), count); len(events) > 0; {
			n := min(len(events), 500)
			p.revoke(events[:n]...)
			events = events[n:]
		}
		old := fmt.Sprintf(`{"v":1,"origin":"o","seq":1,"event":{"kind":"jti","value":"old-%d","at":5,"expires_at":3000,"reason":"logoff"}}`, count)
		w := store.Write{Key: fmt.Sprint("ledger.event.jti.old-", count), Value: []byte(old), Blind: true}
		if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
			t.Fatal(err)
		}
		paged, parted := start(t, listed{s}, still), start(t, s, still)
		want, got := encodedBytes(t, paged), encodedBytes(t, parted)
		// Each has its own origin, of one length: only that, and the checksum, differ.
		want = bytes.ReplaceAll(want, []byte(paged.Origin()), []byte(parted.Origin()))
		if !bytes.Equal(want[:len(want)-4], got[:len(got)-4]) {
			t.Errorf("after %d events more: %d bytes in pages, %d in parts, and they differ", count, len(want), len(got))
		}
		a := parted.answer("")
		if len(a.Events) < count || paged.denylist.Len() != parted.denylist.Len() || paged.denylist.Len() != len(a.Events)+1 {
			t.Errorf("%d events, loaded in pages %d, in parts %d", len(a.Events), paged.denylist.Len(), parted.denylist.Len())
		}
	}
}

func encodedBytes(t *testing.T, p *process) []byte {
	t.Helper()
	e, err := p.EncodedAnswer(t.Context(), "", revocation.FormBinary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	var buf bytes.Buffer
	if _, err := e.WriteTo(&buf); err != nil || int64(buf.Len()) != e.Size() {
		t.Fatal(buf.Len(), e.Size(), err)
	}
	return buf.Bytes()
}

// TestAnswerInPartsHoldsAllUpToItsHead commits while an answer is read.
func TestAnswerInPartsHoldsAllUpToItsHead(t *testing.T) {
	p := start(t, inMemory(t))
	p.revoke(mixed(rand.New(rand.NewPCG(2, 2)), 1500)...)
	event := func(seq uint64) revocation.Event { // its place is anywhere among the others
		return sid(fmt.Sprintf("%c%d", 'a'+seq*7%26, seq))
	}
	done := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		defer close(done)
		for seq := uint64(2); seq < 100; seq++ {
			change := store.Change{Events: []revocation.Event{event(seq)}}
			if err := p.store.Commit(t.Context(), []store.Change{change}, p.Seal)[0]; err != nil {
				t.Error(err)
				return
			}
			p.Committed()
		}
	})
	for going := true; going; {
		select {
		case <-done:
			going = false
		default:
		}
		a := p.answer("")
		there := map[string]bool{}
		last := ""
		for _, e := range a.Events {
			there[string(e.Kind)+e.Value] = true
			if key := string(e.Kind) + "." + e.Value; e.Kind == revocation.KindSID && !strings.Contains(e.Value, " ") {
				if key <= last {
					t.Fatalf("%s after %s", key, last)
				}
				last = key
			}
		}
		for seq := uint64(2); seq <= a.Origins[0].Head; seq++ {
			if e := event(seq); !there["sid"+e.Value] {
				t.Fatalf("head %d without batch %d", a.Origins[0].Head, seq)
			}
		}
	}
	writer.Wait()
}

// TestADamagedPartRefusesTheAnswer also checks that the ledger cannot be opened, and that the error names
// the record.
func TestADamagedPartRefusesTheAnswer(t *testing.T) {
	s := inMemory(t)
	p := start(t, s)
	p.revoke(mixed(rand.New(rand.NewPCG(3, 3)), 500)...)
	key := p.keys("ledger.event.sid.")[100]
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	r.Value[len(r.Value)/2] ^= 1
	w := store.Write{Key: key, Value: r.Value, Blind: true}
	if err := s.Commit(t.Context(), []store.Change{{Writes: []store.Write{w}}}, nil)[0]; err != nil {
		t.Fatal(err)
	}
	if _, err := p.EncodedAnswer(t.Context(), "", revocation.FormBinary); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("answering: %v", err)
	}
	if _, err := ledger.Open(t.Context(), ledger.Config{Store: s, Denylist: revocation.NewDenylist()}); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("opening: %v", err)
	}
}
