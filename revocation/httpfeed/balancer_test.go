package httpfeed

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/revocation"
)

// balanced makes a feed connect to two brokers in turn, as a load balancer of connections does.
func balanced(brokers ...*fakeBroker) func(*Feed) {
	var dials atomic.Int64
	transport := brokers[0].Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		next := int(dials.Add(1)-1) % len(brokers)
		return brokers[next].Client().Transport.(*http.Transport).DialContext(ctx, network, addr)
	}
	return func(f *Feed) { f.HTTPClient = &http.Client{Transport: transport} }
}

// TestAReconnectReachesAnotherBroker: whatever ended the stream, the next attempt uses a new connection. The position of
// many origins that one broker sent is valid at the other, which delivers the batches of all origins. Over HTTP/2
// a connection outlives the stream that was silent or refused.
func TestAReconnectReachesAnotherBroker(t *testing.T) {
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		for fault, lose := range map[string]func(c *connection){
			"ended":  func(c *connection) { c.end() },
			"silent": func(*connection) {},
		} {
			t.Run(name+", "+fault, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					a, b, s := newBrokerOver(t, http2), newBrokerOver(t, http2), newSink()
					opened := a.feed(t, s, balanced(a, b))
					c := a.next(t).open()
					receive(t, opened, "end of Open")
					c.send("event: batch\nid: A.3,B.2\ndata: A3\n\nevent: batch\nid: A.3,B.3\ndata: B3\n\n")
					s.message(t, "A3")
					s.message(t, "B3")
					lose(c)

					c = b.next(t)
					if id, query := c.r.Header.Get("Last-Event-ID"), c.r.URL.RawQuery; id != "A.3,B.3" || query != "speaks=2" {
						t.Errorf("the request at the other broker has the id %q and the query %q", id, query)
					}
					c.open()
					s.gap(t, errConnected)
					c.send("event: batch\nid: A.3,B.4\ndata: B4\n\nevent: heartbeat\nid: A.3,B.4\ndata: of B\n\n")
					s.message(t, "B4")
					s.message(t, "of B")

					// A broker that cannot serve the stream refuses it, and keeps its connection.
					c.end()
					a.next(t).status(http.StatusServiceUnavailable)
					c = b.next(t).open()
					s.gap(t, errConnected)
					c.send("event: reset\nid: A.9,B.9\ndata: {}\n\n") // the gap is already reported
					c.send("event: batch\nid: A.9,B.10\ndata: B10\n\n")
					s.message(t, "B10")
					s.noGap(t)
				})
			})
		}
	}
}

// TestPositionsOfManyOriginsAreKept: up to the length that a header may have. A longer one is ignored, so that the
// stream continues after an earlier position.
func TestPositionsOfManyOriginsAreKept(t *testing.T) {
	longest := strings.Repeat("a", revocation.MaxPositionBytes-len(".1")) + ".1"
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		b.feed(t, s)
		for sent, want := range map[string]string{longest: longest, "a" + longest: ""} {
			c := b.next(t).open()
			c.send("event: batch\nid: " + sent + "\ndata: one\n\n")
			s.message(t, "one")
			c.end()
			c = b.next(t)
			if id := c.r.Header.Get("Last-Event-ID"); id != want && want != "" || len(id) > revocation.MaxPositionBytes {
				t.Errorf("the id has %d bytes", len(id))
			}
			c.end()
		}
	})
}

// TestAHeartbeatOfTheMostOriginsArrives: over a stream, a heartbeat with the heads of 1,024 origins is one line.
func TestAHeartbeatOfTheMostOriginsArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := newBroker(t), newSink()
		b.feed(t, s)
		longest := strings.Repeat("h", revocation.MaxHeartbeatBytes*4/3+1024)
		b.next(t).open().send("event: heartbeat\nid: o.1\ndata: " + longest + "\n\n")
		s.message(t, longest)
		time.Sleep(time.Millisecond)
		s.noGap(t)
	})
}

func TestTheReasonOfARefusedProtocolIsLogged(t *testing.T) {
	var log strings.Builder
	t.Run("run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b, s := newBroker(t), newSink()
			b.feed(t, s, func(f *Feed) { f.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			c := b.next(t)
			c.answer(func(w http.ResponseWriter) {
				w.WriteHeader(http.StatusNotAcceptable)
				_, _ = io.WriteString(w, `{"status":406,"code":"protocol_outdated"}`)
			})
			c.end()
			b.next(t).end()
		})
	})
	if text := log.String(); !strings.Contains(text, `/revocations/stream answers 406 Not Acceptable \"protocol_outdated\"`) {
		t.Errorf("log:\n%s", text)
	}
}
