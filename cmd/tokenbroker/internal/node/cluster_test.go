package node_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tokenbroker/validator"
)

// TestReconnectToAnotherServer stops the server of a cluster of two to which the service is
// connected. The service continues with the other server, misses no revocation, and makes only a
// few catch-ups.
func TestReconnectToAnotherServer(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.serveNATS(&server.Options{ServerName: "one", Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}})
	other := &lab{t: t, natsPort: freePort(t)}
	other.serveNATS(&server.Options{ServerName: "two", Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1},
		Routes: server.RoutesFromStr("nats://" + l.nats.ClusterAddr().String())})
	t.Cleanup(other.stopNATS)
	eventually(t, "the two are a cluster", func() bool { return l.nats.NumRoutes() > 0 && other.nats.NumRoutes() > 0 })
	l.brokerNATS, l.feedURL = other.natsURL(), l.natsURL() // services learn the other's address from the first server
	l.startBroker()
	l.checkReady("ready")
	v := l.startService(5 * time.Second)
	kept := l.signIn()
	var ended []*browser
	for range 3 {
		b := l.signIn()
		ended = append(ended, b)
		b.logOff()
	}
	l.refusedAtOnce(v)
	before := v.Stats().Feed.CatchUps

	l.stopNATS()
	meanwhile := l.signIn()
	ended = append(ended, meanwhile)
	meanwhile.logOff()
	l.refused(v, meanwhile)
	l.refusedAtOnce(v)
	for i, b := range ended {
		if err := l.validate(v, b); !errors.Is(err, validator.ErrRevoked) {
			t.Errorf("log-off %d: %v", i, err)
		}
	}
	if err := l.validate(v, kept); err != nil {
		t.Errorf("a good token: %v", err)
	}
	eventually(t, "the reconnect makes a catch-up", func() bool { return v.Stats().Feed.CatchUps > before })
	if n := v.Stats().Feed.CatchUps - before; n > 6 {
		t.Errorf("%d catch-ups for one reconnect", n)
	}
}
