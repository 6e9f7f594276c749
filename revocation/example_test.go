package revocation_test

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"tokenbroker/revocation"
)

// A follower in small: the answer of a catch-up, then a batch from the feed.
func Example() {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		panic(err)
	}
	denylist := revocation.NewDenylist()
	at := func(d time.Duration) revocation.Instant {
		return revocation.Instant{Mono: d, WallMS: d.Milliseconds()}
	}
	tracker := revocation.NewTracker(at(0), revocation.TrackerConfig{})
	perform := func(e revocation.Effects) {
		denylist.SetKids(e.Kids)
		denylist.Apply(e.Apply...)
		if e.CatchUp != nil {
			fmt.Printf("GET /revocations?after=%s\n", e.CatchUp.After)
		}
	}

	perform(tracker.Tick(at(0)))
	perform(tracker.CatchUpDone(at(5*time.Millisecond), 1, &revocation.Answer{
		V: revocation.Version, Store: "store", Origin: "life-1", Up: 60_000, AtMS: 1_700_000_000_000, Full: true,
		Origins: []revocation.OriginHead{{Origin: "life-1", Head: 41}},
	}, nil))

	token := revocation.Subject{JTI: "a", SID: "session", Sub: "ada", ClientID: "spa", KID: "k1"}
	fmt.Println("revoked:", denylist.Revoked(token))

	raw, err := revocation.SignMessage(private, "feed-1", revocation.BatchType, revocation.Batch{
		V: revocation.Version, Store: "store", Origin: "life-1", Seq: 42, At: 1_700_000_001,
		Events: []revocation.Event{{
			Kind: revocation.KindSID, Value: "session", At: 1_700_000_001, ExpiresAt: 1_700_000_400,
			Reason: revocation.ReasonLogoff,
		}},
	})
	if err != nil {
		panic(err)
	}
	message, err := revocation.ParseMessage(raw, func(kid string) (ed25519.PublicKey, bool) {
		return public, kid == "feed-1"
	})
	if err != nil {
		panic(err)
	}
	now := at(time.Second)
	perform(tracker.Message(now, now.Mono, message))
	fmt.Println("revoked:", denylist.Revoked(token))
	fmt.Println("fresh:", tracker.State(now).Fresh(now.Mono, 30*time.Second))
	// Output:
	// GET /revocations?after=
	// revoked: false
	// revoked: true
	// fresh: true
}
