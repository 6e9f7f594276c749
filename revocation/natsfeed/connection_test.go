package natsfeed

import (
	"bytes"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tokenbroker/revocation"
)

// until waits for a condition that is expected soon. The deadline only ends a test that hangs.
func until(t *testing.T, what string, good func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !good(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

type lockedLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestAWrongPasswordIsReportedAsOne(t *testing.T) {
	srv := serve(t, server.Options{Port: -1, Username: "broker", Password: "right"})
	port := portOf(t, srv)
	for name, row := range map[string]struct{ user, password, want string }{
		"wrong password": {"broker", "a wrong word", "Authorization Violation: check the NATS user and password"},
		"no user":        {"", "", "Authorization Violation: the server asks for a user and password, and none is configured"},
	} {
		t.Run(name, func(t *testing.T) {
			url := "nats://127.0.0.1:" + strconv.Itoa(port)
			feed := open(t, Feed{URL: url, User: row.user, Password: row.password}, newSink())
			defer feed.Close()
			link := feed.(revocation.Link)
			until(t, "the cause", func() bool { return link.Err() != nil })
			err := link.Err()
			if !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), url) || !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("the feed says %v", err)
			}
			if err := feed.(revocation.ReceiptSender).SendReceipt(t.Context(), revocation.Receipt{V: revocation.Version, Service: "s/1"}); !errors.Is(err, ErrNotConnected) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("a receipt: %v", err)
			}

			var log lockedLog
			bus := dial(t, BusConfig{URL: url, User: row.user, Password: row.password, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			until(t, "the line", func() bool { return strings.Contains(log.String(), row.want) })
			if text := log.String(); !strings.Contains(text, url) || strings.Contains(text, "wrong word") || strings.Count(text, "\n") > 2 {
				t.Errorf("the broker's log: %s", text)
			}
			if err := bus.Publish("x", nil); !errors.Is(err, ErrNotConnected) || !strings.Contains(err.Error(), url) {
				t.Errorf("publishing: %v", err)
			}
		})
	}
}

func TestUnreachableServerIsLoggedOnceAndWhenItIsBack(t *testing.T) {
	first := serve(t, server.Options{Port: -1})
	port := portOf(t, first)
	shutDown(first)
	url := "nats://someone:secret@127.0.0.1:" + strconv.Itoa(port)
	var log lockedLog
	dial(t, BusConfig{URL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	feed := open(t, Feed{URL: url}, newSink())
	defer feed.Close()
	link := feed.(revocation.Link)
	at := "nats://127.0.0.1:" + strconv.Itoa(port)
	until(t, "the cause", func() bool {
		return strings.Contains(log.String(), "connection refused") && link.Err() != nil
	})
	if text := log.String() + link.Err().Error(); !strings.Contains(text, at) || strings.Contains(text, "secret") {
		t.Errorf("logged: %s", text)
	}
	if lines := strings.Count(log.String(), "level=WARN"); lines > 2 {
		t.Errorf("%d lines:\n%s", lines, &log)
	}
	serve(t, server.Options{Port: port})
	until(t, "the return", func() bool { return strings.Contains(log.String(), "connected to NATS again") && link.Err() == nil })
}

// nats.go takes URLs without a scheme.
func TestNoFormOfAURLShowsItsPassword(t *testing.T) {
	for list, want := range map[string]string{
		"nats://someone:secret@a:4222": "nats://a:4222", "someone:secret@a:4222": "nats://a:4222", "someone:secret@a": "nats://a", "secret@a": "nats://a",
		" secret@a:4222 , tls://someone:secret@b": "nats://a:4222,tls://b", "a:4222": "nats://a:4222", "a": "nats://a",
	} {
		if got := newOutage(list, access{}).url; got != want {
			t.Errorf("%s is shown as %s, want %s", list, got, want)
		}
	}
	for _, list := range []string{"nats://someone:secret%zz@a:4222", "someone:secret/x@a:4222", "nats://a:4222,nats://someone:secret#@b:4222"} {
		for name, attempt := range map[string]func() error{
			"feed": func() error { _, err := Feed{URL: list}.Open(t.Context(), newSink()); return err },
			"bus":  func() error { _, err := Dial(t.Context(), BusConfig{URL: list}); return err },
		} {
			if err := attempt(); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "zz") {
				t.Errorf("the %s at %s says %v", name, list, err)
			}
		}
	}
}

// A cluster whose servers fail for different reasons does not fill the log.
func TestMostSpecificReasonOfAnOutageIsKept(t *testing.T) {
	a := newOutage("nats://a:4222, nats://b:4222", access{user: "u"})
	refused := errors.New("dial tcp: connection refused")
	for i, step := range []struct {
		err  error
		news bool
	}{
		{nil, false}, {nats.ErrNoServers, false}, {refused, true}, {nats.ErrAuthorization, true},
		{refused, false}, {nats.ErrAuthorization, false}, {errors.New("another"), false},
	} {
		if got := a.failed(step.err); got != step.news {
			t.Errorf("step %d: news %v", i, got)
		}
	}
	if err := a.err(); !errors.Is(err, nats.ErrAuthorization) || !strings.Contains(err.Error(), "nats://a:4222,nats://b:4222") {
		t.Errorf("kept %v", err)
	}
	if !a.back() || a.back() || a.err() != nil || !a.failed(refused) {
		t.Error("the next outage is not a new one")
	}
}
