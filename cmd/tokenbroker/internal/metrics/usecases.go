package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/api"
	"tokenbroker/broker"
	"tokenbroker/broker/store"
)

// useCases counts what the broker answered and times what it wrote.
type useCases struct {
	signIns   *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	commit    prometheus.Histogram
}

func newUseCases(registry *prometheus.Registry) useCases {
	u := useCases{
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_sign_ins_total", Help: "Sign-ins by way (password, redirect, exchange) and result: ok or an error code.",
		}, []string{"way", "result"}),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_refreshes_total", Help: "Refreshes of browser sessions by result: ok or an error code.",
		}, []string{"result"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tokenbroker_commit_duration_seconds", Help: "Time of one transaction, with its fsync.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}),
	}
	registry.MustRegister(u.signIns, u.refreshes, u.commit)
	return u
}

// result is the label of an answer, from a small set: error codes are part of the API.
func result(err error) string {
	var refusal *broker.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal):
		return string(refusal.Code)
	default:
		return string(broker.CodeInternal)
	}
}

// Sessions gives s with its sign-ins and refreshes counted.
func (m *Metrics) Sessions(s api.Sessions) api.Sessions { return sessions{s, m.useCases} }

type sessions struct {
	api.Sessions
	count useCases
}

func (s sessions) SignIn(ctx context.Context, username, password string, req broker.Request) (*broker.Grant, error) {
	grant, err := s.Sessions.SignIn(ctx, username, password, req)
	s.count.signIns.WithLabelValues("password", result(err)).Inc()
	return grant, err
}

func (s sessions) Refresh(ctx context.Context, refreshToken, csrf string, req broker.Request) (*broker.Grant, error) {
	grant, err := s.Sessions.Refresh(ctx, refreshToken, csrf, req)
	s.count.refreshes.WithLabelValues(result(err)).Inc()
	return grant, err
}

// Logins gives l with its completed and failed sign-ins counted; nil stays nil.
func (m *Metrics) Logins(l api.Logins) api.Logins {
	if l == nil {
		return nil
	}
	return logins{l, m.useCases}
}

type logins struct {
	api.Logins
	count useCases
}

func (l logins) CompleteLogin(ctx context.Context, cb broker.LoginCallback, req broker.Request) (*broker.Grant, string, error) {
	grant, returnTo, err := l.Logins.CompleteLogin(ctx, cb, req)
	l.count.signIns.WithLabelValues("redirect", result(err)).Inc()
	return grant, returnTo, err
}

func (l logins) ExchangeTokens(ctx context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request) (*broker.Grant, error) {
	grant, err := l.Logins.ExchangeTokens(ctx, provider, tokens, req)
	l.count.signIns.WithLabelValues("exchange", result(err)).Inc()
	return grant, err
}

// Store gives s with its commits timed.
func (m *Metrics) Store(s store.Store) store.Store { return timedStore{s, m.commit} }

type timedStore struct {
	store.Store
	took prometheus.Observer
}

func (s timedStore) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	start := time.Now()
	errs := s.Store.Commit(ctx, changes, seal)
	s.took.Observe(time.Since(start).Seconds())
	return errs
}
