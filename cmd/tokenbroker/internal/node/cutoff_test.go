package node_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

// TestAServiceThatIsCutOff logs a session off while no message reaches the service. There its token
// is accepted for MaxStaleness at most, is then answered with 503, and is never accepted again, even
// when the delayed messages arrive.
func TestAServiceThatIsCutOff(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	const (
		bound = 2 * time.Second
		slack = 500 * time.Millisecond // for the difference of the compared clocks, and for a busy machine
	)
	for name, away := range map[string]func(*link){"links refused": (*link).doCut, "links silent": (*link).doSilence} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			viaHTTP, viaNATS := newLink(t, l.listen), newLink(t, loopback(l.natsPort))
			l.issuer, l.feedURL = "http://"+viaHTTP.addr(), "nats://"+viaNATS.addr()
			l.startNATS()
			l.startBroker()
			v := l.startService(bound)
			kept, ended := l.signIn(), l.signIn()
			l.accepted(v, kept)
			l.accepted(v, ended)

			away(viaHTTP)
			away(viaNATS)
			cut := time.Now()
			if status := ended.logOff(); status != http.StatusOK {
				t.Fatalf("log-off at a broker that has all it needs: %d", status)
			}
			eventually(t, "the service is stale", func() bool {
				asked := time.Now()
				err := l.validate(v, ended)
				if err == nil && asked.Sub(cut) > bound+slack {
					t.Fatalf("a revoked token is accepted %s after the last message", asked.Sub(cut))
				}
				if err != nil && !errors.Is(err, validator.ErrStale) {
					t.Fatalf("without messages: %v", err)
				}
				return err != nil
			})
			t.Logf("stale %s after the last message", time.Since(cut))
			for _, b := range []*browser{kept, ended} {
				if status := l.serve(v, b); status != http.StatusServiceUnavailable {
					t.Errorf("stale over HTTP: %d", status)
				}
			}

			viaHTTP.mend()
			viaNATS.mend()
			knows := false
			eventually(t, "the service is right again", func() bool {
				switch err := l.validate(v, ended); {
				case errors.Is(err, validator.ErrRevoked):
					knows = true
				case knows || !errors.Is(err, validator.ErrStale):
					t.Fatalf("the revoked token, refused as revoked before: %t: %v", knows, err)
				}
				err := l.validate(v, kept)
				if err != nil && !errors.Is(err, validator.ErrStale) {
					t.Fatalf("a good token: %v", err)
				}
				return knows && err == nil
			})
			if got := [2]int{l.serve(v, kept), l.serve(v, ended)}; got != [2]int{http.StatusOK, http.StatusUnauthorized} {
				t.Errorf("over HTTP: %v", got)
			}
			l.refusedAtOnce(v)
		})
	}
}

// TestTheBrokerRestartsBesideARunningService restarts the broker several times while the NATS server
// keeps running. Each process is a new origin. At all times valid tokens are accepted and revoked
// tokens are refused, and the revocations of each process arrive at once.
func TestTheBrokerRestartsBesideARunningService(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	v := l.startService(0)
	kept := l.signIn()
	l.accepted(v, kept)
	var ended []*browser
	check := func() {
		t.Helper()
		if err := l.validate(v, kept); err != nil {
			t.Fatalf("a good token: %v", err)
		}
		for life, b := range ended {
			if err := l.validate(v, b); !errors.Is(err, validator.ErrRevoked) {
				t.Fatalf("a token revoked in life %d: %v", life, err)
			}
		}
	}
	for range 3 {
		b := l.signIn()
		l.accepted(v, b)
		eventually(t, "the broker has NATS", func() bool { check(); return l.ready("ready") })
		if status := b.logOff(); status != http.StatusOK {
			t.Fatalf("log-off: %d", status)
		}
		l.refused(v, b)
		ended = append(ended, b)
		l.refusedAtOnce(v)
		check()
		l.stopBroker()
		check()
		l.startBroker()
		check()
	}
	kept.refreshes()
}

func (l *lab) validate(v *validator.Validator, b *browser) error {
	l.t.Helper()
	_, err := v.Validate(l.t.Context(), b.access)
	return err
}

// serve sends a request to a service behind httpauth and returns the status.
func (l *lab) serve(v *validator.Validator, b *browser, options ...httpauth.Option) int {
	l.t.Helper()
	rec := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Authorization", "Bearer "+b.access)
	httpauth.Require(v, options...)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(rec, req)
	if (rec.Code == http.StatusServiceUnavailable) != (rec.Header().Get("Retry-After") != "") {
		l.t.Errorf("%d with Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
	}
	return rec.Code
}
