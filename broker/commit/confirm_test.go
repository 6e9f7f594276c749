package commit_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// onPrimary is a broker on a primary that another server can replace, with signed-in users. Its counts are read while no
// operation runs.
type onPrimary struct {
	*testing.T
	*brokertest.Harness
	primary *memstore.Primary
	other   *memstore.Handle
	grants  [waiting + 1]*broker.Grant

	reads, commits, confirms int
	hold                     chan struct{} // if not nil, commits wait until it is closed
	committed                func()        // called before the next commit, if not nil
}

func (p *onPrimary) faults(op memstore.Op) memstore.Fault {
	switch op.Kind {
	case memstore.OpGet, memstore.OpGetMany, memstore.OpList:
		p.reads++
	case memstore.OpCommit:
		p.commits++
		if p.hold != nil {
			<-p.hold
		}
		if do := p.committed; do != nil {
			p.committed = nil
			do()
		}
	case memstore.OpConfirm:
		p.confirms++
	}
	return memstore.OK
}

func startOnPrimary(t *testing.T) *onPrimary {
	p := &onPrimary{T: t}
	engine := memstore.NewEngine(nil)
	p.primary, p.other = engine.OpenPrimary(p.faults), engine.Open(nil)
	run, err := origins.Join(t.Context(), origins.Config{Engine: p.primary, Name: "a", KEK: "k", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	p.Harness = brokertest.Start(t, func(c *brokertest.Config) { c.Store = run })
	for i := range p.grants {
		if _, err := p.AddUser(t.Context(), operator.NewUser{Username: fmt.Sprint("user", i), Password: "lovelace"}, brokertest.Operator); err != nil {
			t.Fatal(err)
		}
		if p.grants[i], err = p.SignIn(t.Context(), fmt.Sprint("user", i), "lovelace", brokertest.Request); err != nil {
			t.Fatal(err)
		}
	}
	p.reset()
	return p
}

func (p *onPrimary) reset() { p.reads, p.commits, p.confirms = 0, 0, 0 }

func (p *onPrimary) refresh(i int) (*broker.Grant, error) {
	return p.Refresh(p.Context(), p.grants[i].RefreshToken, p.grants[i].CSRFToken, brokertest.Request)
}

// logOff logs off a session by the present grant.
func (p *onPrimary) logOff(i int) error {
	_, err := p.LogOff(p.Context(), p.grants[i].RefreshToken, p.grants[i].CSRFToken, brokertest.Request)
	return err
}

// refused refreshes a session that has ended.
func (p *onPrimary) refused(i int) error {
	_, err := p.refresh(i)
	_ = brokertest.WantCode(p.T, err, broker.CodeSessionEnded)
	return nil
}

// together refreshes the first n sessions in one round, and returns the errors. The counts are those of the round.
func (p *onPrimary) together(n int) []error {
	p.hold = make(chan struct{})
	first := make(chan error, 1)
	go func() { _, err := p.refresh(waiting); first <- err }()
	synctest.Wait()
	p.reset()
	go func() { synctest.Wait(); close(p.hold) }()
	errs := make([]error, n)
	for i, outcome := range brokertest.AtOnce(n, p.refresh) {
		errs[i] = outcome.Err
	}
	if err := <-first; err != nil {
		p.Error(err)
	}
	return errs
}

// TestRoundTripsOnAPrimary states what a use case costs if reads have to be confirmed.
func TestRoundTripsOnAPrimary(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		do                       func(*onPrimary) error
		reads, commits, confirms int
	}{
		{"a refresh", func(p *onPrimary) error { _, err := p.refresh(0); return err }, 1, 1, 0},
		{"a log-off", func(p *onPrimary) error { return p.logOff(0) }, 1, 1, 0},
		{"a refresh that is refused", func(p *onPrimary) error {
			if err := p.logOff(0); err != nil {
				return err
			}
			p.reset()
			return p.refused(0)
		}, 1, 0, 1},
		{"a refresh that repeats one within the grace", func(p *onPrimary) error {
			if _, err := p.refresh(0); err != nil {
				return err
			}
			p.reset()
			_, err := p.refresh(0)
			return err
		}, 1, 0, 1},
		{"64 refused refreshes of one round share a confirmation", func(p *onPrimary) error {
			for i := range waiting {
				if err := p.logOff(i); err != nil {
					return err
				}
			}
			for _, err := range p.together(waiting) {
				_ = brokertest.WantCode(p.T, err, broker.CodeSessionEnded)
			}
			return nil
		}, 1, 0, 1},
		{"a commit confirms the refusals of its round", func(p *onPrimary) error {
			if err := p.logOff(0); err != nil {
				return err
			}
			for i, err := range p.together(2) {
				if i == 0 {
					_ = brokertest.WantCode(p.T, err, broker.CodeSessionEnded)
				} else if err != nil {
					return err
				}
			}
			return nil
		}, 1, 1, 0},
		{"a question for the session", func(p *onPrimary) error {
			_, err := p.Session(p.Context(), p.grants[0].RefreshToken, brokertest.Request)
			return err
		}, 1, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startOnPrimary(t)
				if err := tt.do(p); err != nil {
					t.Fatal(err)
				}
				if p.reads != tt.reads || p.commits != tt.commits || p.confirms != tt.confirms {
					t.Errorf("%d reads, %d commits and %d confirmations, want %d, %d and %d",
						p.reads, p.commits, p.confirms, tt.reads, tt.commits, tt.confirms)
				}
			})
		})
	}
}

// TestNothingIsAnsweredFromAnOldPrimary checks that each answer that depends on a stale read is a refusal with 503.
func TestNothingIsAnsweredFromAnOldPrimary(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(*onPrimary) error // at the primary
		do     func(context.Context, *onPrimary) error
	}{
		{"a refusal", func(p *onPrimary) error { return p.logOff(0) },
			func(_ context.Context, p *onPrimary) error { _, err := p.refresh(0); return err }},
		{"a repeated answer", func(p *onPrimary) error { _, err := p.refresh(0); return err },
			func(_ context.Context, p *onPrimary) error { _, err := p.refresh(0); return err }},
		{"a repeated log-off", func(p *onPrimary) error { return p.logOff(0) },
			func(_ context.Context, p *onPrimary) error { return p.logOff(0) }},
		{"a question for the session", nil, func(ctx context.Context, p *onPrimary) error {
			_, err := p.Session(ctx, p.grants[0].RefreshToken, brokertest.Request)
			return err
		}},
		{"a sign-in with a wrong password", nil, func(ctx context.Context, p *onPrimary) error {
			_, err := p.SignIn(ctx, "user0", "wrong", brokertest.Request)
			return err
		}},
		{"an operator's list", nil, func(ctx context.Context, p *onPrimary) error {
			_, err := p.ListSessions(ctx, operator.SessionQuery{Limit: 10})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := startOnPrimary(t)
				if tt.before != nil {
					if err := tt.before(p); err != nil {
						t.Fatal(err)
					}
				}
				p.primary.Replace()
				_ = brokertest.WantCode(t, tt.do(t.Context(), p), broker.CodeUnavailable)
			})
		})
	}
}

// A change compares only the records that it writes. If the primary was replaced between the reads of a round and its
// commit, the other records may have been stale.
func TestAChangeDecidedOnAnOldPrimaryIsNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startOnPrimary(t)
		p.primary.Replace()
		p.committed = func() { p.primary.Reconnect() }
		_, err := p.refresh(0)
		_ = brokertest.WantCode(t, err, broker.CodeUnavailable)
		if _, err := p.refresh(0); err != nil {
			t.Errorf("repeated: %v", err)
		}
	})
}
