package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/api"
	"tokenbroker/broker"
)

// useCases counts what the broker answered.
type useCases struct {
	issued    *prometheus.CounterVec
	signIns   *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	logOffs   *prometheus.CounterVec
}

func newUseCases(registry *prometheus.Registry) useCases {
	u := useCases{
		issued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_tokens_issued_total", Help: "Access tokens issued, by grant: password, redirect, exchange or refresh.",
		}, []string{"grant"}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_sign_ins_total", Help: "Sign-ins by way (password, redirect, exchange) and result: ok or an error code.",
		}, []string{"way", "result"}),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_refreshes_total", Help: "Refreshes of browser sessions by result: ok, replayed (a superseded refresh token within the grace) or an error code.",
		}, []string{"result"}),
		logOffs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_log_offs_total",
			Help: "Log-offs of browser sessions by result: ok, pending (on disk, the message is still to be sent), no_session or an error code.",
		}, []string{"result"}),
	}
	registry.MustRegister(u.issued, u.signIns, u.refreshes, u.logOffs)
	for _, grant := range []string{"password", "redirect", "exchange", "refresh"} {
		u.issued.WithLabelValues(grant) // there from the start, so that a first token is an increase
	}
	return u
}

func (u useCases) signedIn(way string, err error) {
	u.signIns.WithLabelValues(way, result(err)).Inc()
	if err == nil {
		u.issued.WithLabelValues(way).Inc()
	}
}

// Sessions gives s with its sign-ins, refreshes and log-offs counted.
func (m *Metrics) Sessions(s api.Sessions) api.Sessions { return sessions{s, m.useCases} }

type sessions struct {
	api.Sessions
	count useCases
}

func (s sessions) SignIn(ctx context.Context, username, password string, req broker.Request) (*broker.Grant, error) {
	grant, err := s.Sessions.SignIn(ctx, username, password, req)
	s.count.signedIn("password", err)
	return grant, err
}

func (s sessions) Refresh(ctx context.Context, refreshToken, csrf string, req broker.Request) (*broker.Grant, error) {
	grant, err := s.Sessions.Refresh(ctx, refreshToken, csrf, req)
	label := result(err)
	if err == nil && grant.Replayed {
		label = "replayed"
	}
	s.count.refreshes.WithLabelValues(label).Inc()
	if err == nil {
		s.count.issued.WithLabelValues("refresh").Inc()
	}
	return grant, err
}

func (s sessions) LogOff(ctx context.Context, refreshToken, csrf string, req broker.Request, duplicates ...string) (broker.LogOffResult, error) {
	off, err := s.Sessions.LogOff(ctx, refreshToken, csrf, req, duplicates...)
	label := result(err)
	switch {
	case err != nil:
	case !off.Ended:
		label = string(broker.CodeNoSession)
	case !off.Broadcast:
		label = "pending"
	}
	s.count.logOffs.WithLabelValues(label).Inc()
	return off, err
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
	l.count.signedIn("redirect", err)
	return grant, returnTo, err
}

func (l logins) ExchangeTokens(ctx context.Context, provider string, tokens broker.UpstreamTokens, req broker.Request) (*broker.Grant, error) {
	grant, err := l.Logins.ExchangeTokens(ctx, provider, tokens, req)
	l.count.signedIn("exchange", err)
	return grant, err
}
