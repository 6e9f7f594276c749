package commit

import (
	"context"
	"math"

	"tokenbroker/revocation"
)

// RevokeTokens records an event for each jti that is not revoked yet, in one change, and returns the number of events and
// the head of the ledger that holds them. A repeated jti counts once. by is the operator, or empty.
func (p *Path) RevokeTokens(ctx context.Context, jtis []string, reason revocation.Reason, by string) (changed int, seq uint64, err error) {
	events := make([]revocation.Event, 0, len(jtis))
	seen := make(map[string]bool, len(jtis))
	for _, jti := range jtis {
		// A jti in the denylist is on disk and stays there as long as the token lives, because no jti is known
		// before its token is signed. With the maximum epochs, only the jti can match.
		if seen[jti] || p.cfg.Denylist.Revoked(revocation.Subject{JTI: jti, SEP: math.MaxInt64, CEP: math.MaxInt64}) {
			continue
		}
		seen[jti] = true
		events = append(events, revocation.Event{Kind: revocation.KindJTI, Value: jti, Reason: reason, By: by})
	}
	if len(events) == 0 {
		return 0, 0, nil
	}
	seq, err = p.Record(ctx, events)
	return len(events), seq, err
}
