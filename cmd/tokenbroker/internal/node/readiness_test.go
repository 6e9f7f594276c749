package node_test

import (
	"context"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

// silentProvider is one whose network answers nothing.
type silentProvider struct{ broker.IdentityProvider }

func (silentProvider) Issuer() string { return "https://silent.test" }

func (silentProvider) Ready(ctx context.Context) bool {
	<-ctx.Done()
	return false
}

// TestReadinessDoesNotWaitForProviders one after the other.
func TestReadinessDoesNotWaitForProviders(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	cfg := l.config()
	cfg.Providers = func(string, node.Transport) (map[string]node.Provider, error) {
		return map[string]node.Provider{"a": silentProvider{}, "b": silentProvider{}, "c": silentProvider{}, "d": silentProvider{}}, nil
	}
	n, err := node.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.node = n
	t.Cleanup(func() { l.stopBroker() })
	l.checkReady("degraded")
	quickest := time.Hour // a busy machine may be slow, but not each time
	for range 3 {
		start := time.Now()
		if !l.ready("degraded") {
			t.Error("a provider that is silent takes the broker's readiness")
		}
		quickest = min(quickest, time.Since(start))
	}
	if quickest > 900*time.Millisecond {
		t.Errorf("four silent providers take %v", quickest)
	}
}
