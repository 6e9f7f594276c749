package revocation

import "time"

const (
	keysInterval = 5 * time.Minute  // between scheduled fetches of a key set
	keysBackoff  = 30 * time.Second // the longest wait after failures
	etagJitter   = 2 * time.Second  // spreads the fetches after a new ETag
	etagSpacing  = 10 * time.Second // between fetches while the announced ETag differs
	feedSpacing  = time.Second      // between fetches for unknown feed keys; it doubles while a fetch changes nothing
	heldMessages = 64
	heldBytes    = 4 << 20
	heldFor      = 10 * time.Second
)

// fetcher decides when to fetch a key set.
type fetcher struct {
	running, scheduled, begun bool
	due, started              time.Duration
	failures                  int
}

func (f *fetcher) scheduleBy(at time.Duration) {
	if !f.scheduled || at < f.due {
		f.scheduled, f.due = true, at
	}
}

func (f *fetcher) finished(now time.Duration, ok bool, jitter float64) {
	f.running = false
	if ok {
		f.failures = 0
		f.scheduleBy(now + keysInterval - time.Duration(jitter*float64(keysInterval/10)))
		return
	}
	wait := min(time.Second<<min(f.failures, 10), keysBackoff)
	f.failures++
	f.scheduleBy(now + wait/2 + time.Duration(jitter*float64(wait/2)))
}

// retry is called when the issuer answers or a message arrives, so a failed fetch is repeated without
// a further wait.
func (f *fetcher) retry(now time.Duration) {
	if f.failures > 0 {
		f.scheduleBy(max(now, f.started+keysSpacingMax))
	}
}

// Held is a message that is signed by a feed key that is not known yet.
type Held struct {
	Raw     []byte
	Arrival time.Duration
	tries   int
	since   time.Duration
}

// Unknown processes a message that is signed by an unknown feed key: a new one (Raw and Arrival),
// or one of [Effects].Retry whose key is still unknown. The message is held while the keys are
// fetched, bounded in number, bytes and time, and otherwise dropped and counted.
func (t *Tracker) Unknown(now Instant, h Held) Effects {
	t.observe(now)
	if h.tries > 0 || len(t.held) >= heldMessages || t.heldBytes+len(h.Raw) > heldBytes {
		t.dropped++
	} else {
		h.since = now.Mono
		t.held = append(t.held, h)
		t.heldBytes += len(h.Raw)
		at := now.Mono
		if t.feed.begun {
			at = max(at, t.feed.started+t.feedSpacing)
		}
		t.feed.scheduleBy(at)
	}
	return t.settle(now)
}

// Accepts reports whether keys of that store may be used. [Tracker.TokenKeysFetched] and
// [Tracker.FeedKeysFetched] also refuse the keys of another store.
func (t *Tracker) Accepts(store string) bool {
	return store != "" && (t.store == "" || store == t.store)
}

// Fetched is the result of a fetch of one key set.
type Fetched struct {
	// Err is the error of a failed fetch; the other fields are then empty. If nil, it succeeded.
	Err error
	// Store and ETag are those of the document.
	Store, ETag string
	// Changed says that the set has changed, Removed that a key was removed from it.
	Changed, Removed bool
}

// WantTokenKeys requests a fetch of the token keys, because a token named an unknown key. The
// caller limits the rate.
func (t *Tracker) WantTokenKeys(now Instant) Effects {
	t.observe(now)
	if !t.token.running {
		t.token.scheduleBy(now.Mono)
	}
	return t.settle(now)
}

// TokenKeysFetched reports the end of a fetch of the token keys.
func (t *Tracker) TokenKeysFetched(now Instant, f Fetched) Effects {
	t.observe(now)
	ok := t.acceptKeys(f)
	t.token.finished(now.Mono, ok, t.cfg.Jitter())
	if ok {
		t.tokenStore, t.tokenETag = f.Store, NormalETag(f.ETag)
	}
	return t.settle(now)
}

// FeedKeysFetched reports the end of a fetch of the feed keys. When a key left the set, it
// may have been compromised: messages that it signed are not relied on, so the next catch-up
// requests everything.
func (t *Tracker) FeedKeysFetched(now Instant, f Fetched) Effects {
	t.observe(now)
	ok := t.acceptKeys(f)
	begun := t.feed.started
	t.feed.finished(now.Mono, ok, t.cfg.Jitter())
	if ok {
		t.feedStore = f.Store
		t.feedSpacing = min(2*t.feedSpacing, keysSpacingMax)
		if f.Changed {
			t.feedSpacing = feedSpacing
		}
		if f.Removed {
			t.wanted, t.distrust = true, true
			t.clearBuffer()
			t.beats = nil
			for _, o := range t.origins {
				o.head, o.asked = 0, 0
			}
		}
		for _, h := range t.held {
			if h.since <= begun {
				h.tries++
			}
			t.eff.Retry = append(t.eff.Retry, h)
		}
		t.held, t.heldBytes = nil, 0
	}
	return t.settle(now)
}

const keysSpacingMax = 10 * time.Second

// acceptKeys reports whether keys are of the current store. Keys of another store may mean that the
// issuer has a new one, so it then requests a catch-up.
func (t *Tracker) acceptKeys(f Fetched) bool {
	if f.Err != nil {
		return false
	}
	if !t.Accepts(f.Store) {
		t.wanted = true
		return false
	}
	return true
}
