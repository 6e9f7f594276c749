package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
	"tokenbroker/internal/pipehttp"
	"tokenbroker/revocation"
)

// Watch implements [admin.Watching] with a view of one event.
func (f *fakeOperators) Watch() (admin.Watcher, error) {
	f.note(broker.Request{}, "watch")
	if f.err != nil {
		return nil, f.err
	}
	w := &fakeWatcher{events: make(chan admin.WatchEvent, 1), closed: make(chan struct{})}
	w.events <- admin.WatchEvent{Name: admin.WatchTypeKey, Data: []byte(`{"type":"key"}`)}
	close(w.events)
	return w, nil
}

// fakeWatcher shows the events that the test sends, until the test closes the channel.
type fakeWatcher struct {
	events chan admin.WatchEvent
	closed chan struct{}
}

func (w *fakeWatcher) Next(ctx context.Context) (admin.WatchEvent, error) {
	select {
	case e, ok := <-w.events:
		if !ok {
			return e, errors.New("over")
		}
		return e, nil
	case <-ctx.Done():
		return admin.WatchEvent{}, ctx.Err()
	}
}

func (w *fakeWatcher) Close() { close(w.closed) }

// watching serves one view whose events the test sends.
type watching struct{ watcher *fakeWatcher }

func (w watching) Watch() (admin.Watcher, error) { return w.watcher, nil }

// watchServer serves the events on the bubble's network. A request and an answer may each take ten seconds.
func watchServer(t *testing.T) (*httptest.Server, *fakeWatcher) {
	t.Helper()
	w := &fakeWatcher{events: make(chan admin.WatchEvent), closed: make(chan struct{})}
	s := &httptest.Server{Config: &http.Server{
		Handler:     newAdmin(&fakeOperators{}, func(c *admin.Config) { c.Watching = watching{w} }),
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}}
	pipehttp.Start(t, s)
	return s, w
}

func openWatch(t *testing.T, s *httptest.Server, method string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/admin/v1/watch/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestWatchWritesServerSentEventsBeyondTheServersBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := watchServer(t)
		resp := openWatch(t, s, http.MethodGet)
		if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
			t.Fatalf("%d, content type %q", resp.StatusCode, got)
		}
		body := bufio.NewReader(resp.Body)
		read := func(want string) {
			t.Helper()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(body, got); err != nil || string(got) != want {
				t.Fatalf("got %q, want %q: %v", got, want, err)
			}
		}
		read(": watching\n\n") // at once
		for range 6 {
			time.Sleep(5 * time.Second)
			w.events <- admin.WatchEvent{Name: "key", Data: []byte(`{"type":"key"}`)}
			read("event: key\ndata: {\"type\":\"key\"}\n\n")
		}
		close(w.events)
		if rest, err := io.ReadAll(body); err != nil || len(rest) != 0 {
			t.Errorf("rest %q: %v", rest, err)
		}
		<-w.closed
	})
}

func TestWatchEndsWithItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := watchServer(t)
		_ = openWatch(t, s, http.MethodGet).Body.Close()
		<-w.closed
	})
}

func TestHeadOfWatchEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := watchServer(t)
		if resp := openWatch(t, s, http.MethodHead); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		<-w.closed
	})
}

func TestWatchRefusals(t *testing.T) {
	busy := &broker.Error{Code: broker.CodeBusy, RetryAfter: 5 * time.Second}
	res := callAdmin(t, newAdmin(&fakeOperators{err: busy}), "GET", "/admin/v1/watch", "")
	apitest.Want(t, res, 503, "busy")
	if got := res.Header.Get("Retry-After"); got != "5" {
		t.Errorf("Retry-After %q", got)
	}
	apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{err: errors.New("x")}), "GET", "/admin/v1/watch", ""), 500, "internal")
	apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), "POST", "/admin/v1/watch", "{}"), 405, "method_not_allowed")
	apitest.Want(t, callAdmin(t, newAdmin(&fakeOperators{}), "GET", "/admin/v1/watch", "", "Authorization: "), 401, "unauthorized")
}

// The events are as documented, with every member and with the required ones only.
func TestWatchedEventsAreAsDocumented(t *testing.T) {
	d, ms := adminDocument(t), int64(0)
	for schema, values := range map[string][]any{
		"WatchRevocation": {
			admin.WatchRevocation{Type: admin.WatchTypeRevocation, Origin: "o1", Seq: 4, At: moment, FlushedMS: &ms, Events: []revocation.Event{
				{Kind: revocation.KindSub, Value: "u1", ExpiresAt: 2, At: 1, Reason: revocation.ReasonRevoked, Epoch: 9},
			}},
			admin.WatchRevocation{Type: admin.WatchTypeRevocation, Events: []revocation.Event{}},
		},
		"WatchApplied": {
			admin.WatchApplied{Type: admin.WatchTypeApplied, Origin: "o1", Seq: 4, Applied: 1, Of: 2, SlowestMS: 3, Laggards: []string{"billing/1"}},
			admin.WatchApplied{Type: admin.WatchTypeApplied},
		},
		"WatchService": {
			admin.WatchService{Type: admin.WatchTypeService, Service: "billing/1", Source: "nats/billing", State: admin.ServiceGone, Before: admin.ServiceSilent, Lag: 1, AgeMS: 2, At: moment},
			admin.WatchService{Type: admin.WatchTypeService, State: admin.ServiceStale},
			admin.WatchService{Type: admin.WatchTypeService, State: admin.ServiceFresh, Before: admin.ServiceStale, Speaker: "o1", SpeakerName: "broker-1"},
		},
		"WatchKey": {
			admin.WatchKey{Type: admin.WatchTypeKey, What: "key_made", KID: "k1", Purpose: "access", Algorithm: "ES256", State: "next", At: moment},
			admin.WatchKey{Type: admin.WatchTypeKey, What: "master_rotated"},
		},
	} {
		for _, value := range values {
			text, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			var v any
			if err := json.Unmarshal(text, &v); err != nil {
				t.Fatal(err)
			}
			if err := d.conforms(v, d.at(d.root, "components", "schemas", schema), schema); err != nil {
				t.Errorf("%v in %s", err, text)
			}
		}
	}
}
