package node_test

import (
	"context"
	"sync/atomic"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

// silentProvider is a provider whose network does not answer. It counts the checks that wait for it.
type silentProvider struct {
	broker.IdentityProvider
	waiting, most *atomic.Int64
}

func (silentProvider) Issuer() string    { return "https://silent.test" }
func (silentProvider) Issuers() []string { return nil }

func (p silentProvider) Ready(ctx context.Context) bool {
	if n := p.waiting.Add(1); n > p.most.Load() {
		p.most.Store(n)
	}
	defer p.waiting.Add(-1)
	<-ctx.Done()
	return false
}

// TestReadinessDoesNotWaitForProviders checks that the readiness checks the providers concurrently.
func TestReadinessDoesNotWaitForProviders(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	cfg := l.config()
	silent := silentProvider{waiting: new(atomic.Int64), most: new(atomic.Int64)}
	cfg.Providers = func(string, node.Transport) (map[string]node.Provider, error) {
		return map[string]node.Provider{"a": silent, "b": silent, "c": silent, "d": silent}, nil
	}
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.node = n
	t.Cleanup(func() { l.stopBroker() })
	l.checkReady("degraded")
	eventually(t, "all four are asked side by side", func() bool {
		if !l.ready("degraded") {
			t.Error("the broker is not ready because a provider is silent")
		}
		return silent.most.Load() == 4
	})
}
