package node_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/validator"
)

// logOffWaiting logs off and returns the receipts of the services.
func (b *browser) logOffWaiting(wait string) broker.ReceiptSummary {
	b.l.t.Helper()
	return b.logOffWaitingFor(http.StatusOK, wait)
}

// logOffWaitingFor is like logOffWaiting, with the expected status.
func (b *browser) logOffWaitingFor(status int, wait string) broker.ReceiptSummary {
	b.l.t.Helper()
	req, err := http.NewRequestWithContext(b.l.t.Context(), http.MethodPost,
		"http://"+b.l.listen+"/auth/logoff/?wait="+wait, strings.NewReader(`{"CSRF_token": "`+b.csrf+`"}`))
	if err != nil {
		b.l.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cookie", b.cookie)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.l.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer := broker.ReceiptSummary{Of: -1}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != status || answer.Of < 0 {
		b.l.t.Fatalf("log-off: %d, %+v, %v", resp.StatusCode, answer, err)
	}
	return answer
}

// TestTheServicesAreCounted checks that a log-off that waits is answered when the service on NATS and
// the one on HTTP have applied it. If one of them is cut off, the answer counts it and does not name
// it; after a while without its receipts, log-offs no longer wait for it.
func TestTheServicesAreCounted(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	if got := l.signIn().logOffWaiting("2s"); got.Of != 0 || got.Applied != 0 || got.Laggards != nil {
		t.Fatalf("without services: %+v", got)
	}
	overNATS := l.startService(0, func(cfg *validator.Config) { cfg.Service = "over-nats" })
	way := newLink(t, l.listen)
	overHTTP := l.startService(0, func(cfg *validator.Config) {
		cfg.Service = "over-http"
		cfg.Feed = httpfeed.Feed{URL: "http://" + way.addr(), Client: cfg.Client}
	})
	eventually(t, "both are heard and have it", func() bool {
		got := l.signIn().logOffWaiting("1s")
		return got.Applied == 2 && got.Of == 2
	})

	b := l.signIn()
	l.accepted(overNATS, b)
	l.accepted(overHTTP, b)
	got := b.logOffWaiting("10s")
	if got.Applied != 2 || got.Of != 2 || got.Laggards != nil || got.SlowestMS > 10_000 {
		t.Errorf("both are there: %+v", got)
	}
	for _, v := range []*validator.Validator{overNATS, overHTTP} {
		if err := l.validate(v, b); !errors.Is(err, validator.ErrRevoked) {
			t.Errorf("a service that sent a receipt has not applied the log-off: %v", err)
		}
	}
	t.Logf("2 of 2, the slowest %d ms", got.SlowestMS)

	way.doCut()
	got = l.signIn().logOffWaiting("500ms")
	if got.Applied != 1 || got.Of != 2 || got.Laggards != nil {
		t.Errorf("one is cut off: %+v", got)
	}
	eventually(t, "the silent one is not waited for", func() bool {
		got := l.signIn().logOffWaiting("100ms")
		return got.Applied == 1 && got.Of == 1
	})
	l.wantMetrics(`tokenbroker_services{state="fresh"} 1`, `tokenbroker_services{state="silent"} 1`)

	way.mend()
	eventually(t, "it is back", func() bool {
		got := l.signIn().logOffWaiting("1s")
		return got.Applied == 2 && got.Of == 2
	})
}

// TestAStopDoesNotWaitForReceipts checks that at a stop a waiting log-off is answered with the receipts
// so far, although its wait is longer than a stop may take.
func TestAStopDoesNotWaitForReceipts(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	way := newLink(t, l.listen)
	l.startService(0, func(cfg *validator.Config) {
		cfg.Feed = httpfeed.Feed{URL: "http://" + way.addr(), Client: cfg.Client}
	})
	eventually(t, "it is heard", func() bool {
		got := l.signIn().logOffWaiting("1s")
		return got.Applied == 1
	})
	way.doCut()
	answers := make(chan struct{})
	b := l.signIn()
	go func() {
		defer close(answers) // also if the call ends the test
		got := b.logOffWaiting("10s")
		if got.Applied != 0 || got.Of != 1 {
			t.Errorf("answered with %+v", got)
		}
	}()
	eventually(t, "the session is ended", func() bool {
		return b.post("/auth/verify/", `{"token": "`+b.access+`"}`) == http.StatusUnauthorized
	})
	select {
	case <-answers:
		t.Fatal("it did not wait")
	default:
	}
	l.stopped()
	<-answers
}

// TestAWaitWithoutNATSEndsInTime checks that without NATS the log-off is durable but not published,
// and that the answer reports this at the end of the wait.
func TestAWaitWithoutNATSEndsInTime(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	l.startService(0)
	eventually(t, "it is heard", func() bool {
		got := l.signIn().logOffWaiting("1s")
		return got.Applied == 1
	})
	b := l.signIn()
	l.stopNATS()
	got := b.logOffWaitingFor(http.StatusAccepted, "1s")
	if got.Applied != 0 || got.Of != 1 {
		t.Errorf("answered with %+v", got)
	}
}
