package validatortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"tokenbroker/revocation"
)

// Feed delivers this Issuer's messages to each subscriber that opens it.
func (i *Issuer) Feed() revocation.Feed { return feed{i} }

type feed struct{ issuer *Issuer }

var _ revocation.Feed = feed{}

func (f feed) Open(_ context.Context, sink revocation.Sink) (io.Closer, error) {
	f.issuer.mu.Lock()
	defer f.issuer.mu.Unlock()
	s := &subscription{issuer: f.issuer}
	f.issuer.sinks[s] = sink
	return s, nil
}

type subscription struct{ issuer *Issuer }

func (s *subscription) Close() error {
	s.issuer.mu.Lock()
	defer s.issuer.mu.Unlock()
	delete(s.issuer.sinks, s)
	return nil
}

// Heartbeat sends one heartbeat. A validator needs none while it reaches the Issuer over
// HTTP.
func (i *Issuer) Heartbeat() {
	i.mu.Lock()
	defer i.mu.Unlock()
	up := time.Since(i.started).Milliseconds()
	head := uint64(len(i.events))
	i.send(revocation.HeartbeatType, revocation.Heartbeat{
		V: revocation.Version, Store: i.store, Origin: i.origin, Head: head, Heads: map[string]uint64{i.origin: head},
		Up: up, AtMS: time.Now().UnixMilli(), JWKS: i.jwks().etag,
	})
}

// SetFeedDown makes the feed lose every message from now on, or deliver again and report to
// its readers that there was a gap.
func (i *Issuer) SetFeedDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	was := i.silent
	i.silent = down
	if was && !down {
		for _, sink := range i.sinks {
			sink.Gap(nil)
		}
	}
}

// send is called with mu held: messages leave in the order of their sequence numbers.
func (i *Issuer) send(typ string, message any) {
	if i.silent {
		return
	}
	raw, err := revocation.SignMessage(i.feedKey, i.feedKID, typ, message)
	if err != nil {
		panic("validatortest: " + err.Error())
	}
	for _, sink := range i.sinks {
		sink.Message(append([]byte(nil), raw...))
	}
}

var _ revocation.ReceiptSender = (*subscription)(nil)

var errDown = errors.New("the feed is down")

// Receipts returns the last receipt of each validator that has one of this Issuer's feeds, by
// name: how far it is, and whether it is fresh. A validator sends one each second.
func (i *Issuer) Receipts() []revocation.Receipt {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []revocation.Receipt
	for _, name := range slices.Sorted(maps.Keys(i.receipts)) {
		all = append(all, i.receipts[name])
	}
	return all
}

// SendReceipt implements [revocation.ReceiptSender]. A feed that is down takes none.
func (s *subscription) SendReceipt(_ context.Context, r revocation.Receipt) error {
	if _, err := revocation.EncodeReceipt(r); err != nil {
		return fmt.Errorf("validatortest: %w", err)
	}
	s.issuer.mu.Lock()
	defer s.issuer.mu.Unlock()
	if s.issuer.silent {
		return errDown
	}
	r.Applied = maps.Clone(r.Applied)
	s.issuer.receipts[r.Service] = r
	return nil
}
