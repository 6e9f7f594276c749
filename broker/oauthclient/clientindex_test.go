package oauthclient_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker/oauthclient"
	"tokenbroker/store"
)

// originRecords is a store of client originRecords that counts how often it is listed.
type originRecords struct {
	store.Reader
	clients []store.Record
	lists   int
	err     error
	during  func() // called by each reading
}

func (r *originRecords) List(_ context.Context, _, after string, limit int) ([]store.Record, error) {
	r.lists++
	if r.during != nil {
		r.during()
	}
	var page []store.Record
	for _, rec := range r.clients {
		if rec.Key > after && len(page) < limit {
			page = append(page, rec)
		}
	}
	return page, r.err
}

type originClock struct{ now time.Time }

func (c *originClock) Now() time.Time           { return c.now }
func (c *originClock) RecordedTimeFloor() int64 { return 0 }

func TestOriginsOfClients(t *testing.T) {
	r := &originRecords{clients: []store.Record{
		{Key: "client.app", Value: []byte(`{"v":1,"id":"app","origins":["https://app.example","https://both.example"]}`)},
		{Key: "client.gone", Value: []byte(`{"v":1,"id":"gone","origins":["https://gone.example"],"removed":true}`)},
		{Key: "client.other", Value: []byte(`{"v":1,"id":"other","origins":["https://both.example"]}`)},
		{Key: "client.service", Value: []byte(`{"v":1,"id":"service"}`)},
	}}
	o := oauthclient.NewClientIndex(r, &originClock{time.Unix(1700000000, 0)}, slog.New(slog.DiscardHandler))
	for _, row := range []struct {
		origin, client string
		want           bool
	}{
		{"https://app.example", "", true}, {"https://app.example", "app", true}, {"https://app.example", "other", false},
		{"https://both.example", "app", true}, {"https://both.example", "other", true}, {"https://both.example", "service", false},
		{"https://gone.example", "", false}, {"https://gone.example", "gone", false}, {"https://evil.example", "", false},
		{"https://APP.example", "", false}, {"", "", false}, {"", "service", false},
	} {
		if got := o.Allows(t.Context(), row.origin, row.client); got != row.want {
			t.Errorf("%q for %q: %v", row.origin, row.client, got)
		}
	}
	if r.lists != 1 {
		t.Errorf("the clients were read %d times", r.lists)
	}
}

func TestNamesOfClients(t *testing.T) {
	r, c := &originRecords{err: errors.New("no engine")}, &originClock{time.Unix(1700000000, 0)}
	x := oauthclient.NewClientIndex(r, c, slog.New(slog.DiscardHandler))
	if _, err := x.Imitates(t.Context(), "Anything"); err == nil {
		t.Error("a name is good while the clients were never read")
	}
	r.err, r.clients = nil, []store.Record{
		{Key: "client.app", Value: []byte(`{"v":1,"id":"app","name":"Straße & Söhne"}`)},
		{Key: "client.gone", Value: []byte(`{"v":1,"id":"gone","name":"Gone","removed":true}`)},
		{Key: "client.https://app.example/", Value: []byte(`{"v":1,"id":"https://app.example/","document":true}`)},
		{Key: "client.registered-aaaaaaaaaaaaaaaaaaaaaaaaaa", Value: []byte(`{"v":1,"name":"Registered","registration":{"expires_at":1}}`)},
	}
	c.now = c.now.Add(time.Minute)
	for name, want := range map[string]bool{
		"Straße & Söhne": true, "STRASSE & SÖHNE": true, "strasse &\u00a0so\u0308hne": true, "app": true, "APP": true, "аpp": true,
		"Straße": false, "Gone": false, "Registered": false, "https://app.example/": false, "": false,
	} {
		if got, err := x.Imitates(t.Context(), name); got != want || err != nil {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
	r.err = errors.New("no engine")
	c.now = c.now.Add(time.Minute)
	for name, want := range map[string]bool{"app": true, "other": false} {
		if got, err := x.Imitates(t.Context(), name); got != want || err != nil {
			t.Errorf("without the store, the previous names count: %q: %v, %v", name, got, err)
		}
	}
}

func TestOriginsAreReadAgain(t *testing.T) {
	r, c := &originRecords{}, &originClock{time.Unix(1700000000, 0)}
	o := oauthclient.NewClientIndex(r, c, slog.New(slog.DiscardHandler))
	const app, other = "https://app.example", "https://other.example"
	if o.Allows(t.Context(), app, "") {
		t.Fatal("an origin of no client is allowed")
	}
	r.clients = []store.Record{{Key: "client.app", Value: []byte(`{"origins":["https://app.example"]}`)}}
	c.now = c.now.Add(time.Second)
	if o.Allows(t.Context(), app, "") || r.lists != 1 {
		t.Errorf("read %d times within a second", r.lists)
	}
	c.now = c.now.Add(time.Second)
	if !o.Allows(t.Context(), app, "app") || r.lists != 2 {
		t.Errorf("a new origin is not known after two seconds; read %d times", r.lists)
	}
	r.clients = nil
	c.now = c.now.Add(5 * time.Second)
	if !o.Allows(t.Context(), app, "") || r.lists != 2 {
		t.Errorf("a known origin was read %d times within five seconds", r.lists)
	}
	r.err = errors.New("no engine")
	c.now = c.now.Add(time.Second)
	for range 3 {
		if !o.Allows(t.Context(), app, "") || r.lists != 3 {
			t.Errorf("without the store: read %d times", r.lists)
		}
	}
	r.err = nil
	c.now = c.now.Add(10 * time.Second)
	if o.Allows(t.Context(), app, "") || o.Allows(t.Context(), other, "") {
		t.Error("a removed origin is allowed")
	}
}

// A store that does not answer, so that each reading takes longer than a second, is not asked again by the next question.
func TestOriginsAreNotReadByEachQuestionWithoutTheStore(t *testing.T) {
	r, c := &originRecords{err: errors.New("no engine")}, &originClock{time.Unix(1700000000, 0)}
	r.during = func() { c.now = c.now.Add(2 * time.Second) }
	o := oauthclient.NewClientIndex(r, c, slog.New(slog.DiscardHandler))
	for range 10 {
		if o.Allows(t.Context(), "https://app.example", "") || r.lists != 1 {
			t.Fatalf("read %d times", r.lists)
		}
	}
}

// tellingClock tells each call of Now.
type tellingClock struct {
	now   atomic.Int64 // Unix ms
	asked chan struct{}
}

func (c *tellingClock) Now() time.Time {
	now := time.UnixMilli(c.now.Load())
	select {
	case c.asked <- struct{}{}:
	default: // nobody waits for so many
	}
	return now
}

func (c *tellingClock) RecordedTimeFloor() int64 { return 0 }

// A question that comes during a slow reading waits for it, and does not read again.
func TestOriginsAreReadOnceForAllThatWait(t *testing.T) {
	r, c := &originRecords{}, &tellingClock{asked: make(chan struct{}, 16)}
	o := oauthclient.NewClientIndex(r, c, slog.New(slog.DiscardHandler))
	o.Allows(t.Context(), "https://app.example", "")
	c.now.Add(2000)
	waited := make(chan struct{})
	r.during = func() {
		if r.lists > 2 {
			return
		}
		for len(c.asked) > 0 {
			<-c.asked
		}
		go func() {
			o.Allows(t.Context(), "https://other.example", "")
			close(waited)
		}()
		for range 2 { // it asks for knowledge of five seconds, and then of one
			<-c.asked
		}
		c.now.Add(1500)
	}
	o.Allows(t.Context(), "https://app.example", "")
	<-waited
	if r.lists != 2 {
		t.Errorf("read %d times", r.lists)
	}
}
