package broker_test

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/store"
)

// between does something once between a broker's reading of a session and its commit, or
// before its first write of the records named by prefix.
type between struct {
	store.Store
	prefix string
	once   sync.Once
	do     func()
}

func (b *between) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	for _, c := range changes {
		for _, w := range c.Writes {
			if strings.HasPrefix(w.Key, cmp.Or(b.prefix, "session.")) && b.do != nil {
				b.once.Do(b.do)
			}
		}
	}
	return b.Store.Commit(ctx, changes, seal)
}

// TestALogOffAtAnotherBrokerBeatsARefreshUnderWay: two brokers on one store. The session is
// ended at one after the other has read it; the refresh must not write it back to life.
func TestALogOffAtAnotherBrokerBeatsARefreshUnderWay(t *testing.T) {
	one := start(t)
	grant := one.signIn(t)
	race := &between{Store: one.store}
	other := start(t, func(c *broker.Config) { c.Store = race })
	race.do = func() {
		if _, err := one.LogOff(t.Context(), grant.RefreshToken, grant.CSRFToken, request); err != nil {
			t.Error(err)
		}
	}
	_, err := other.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionEnded)
	_, err = one.Refresh(t.Context(), grant.RefreshToken, grant.CSRFToken, request)
	wantCode(t, err, broker.CodeSessionEnded)
}
