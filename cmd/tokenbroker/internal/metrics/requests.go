package metrics

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/api/browser"
	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// useCases has the metrics of the broker's answers.
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
		u.issued.WithLabelValues(grant) // exported as 0 from the start, so that the first token is an increase
	}
	return u
}

func (u useCases) signedIn(way string, err error) {
	u.signIns.WithLabelValues(way, result(err)).Inc()
	if err == nil {
		u.issued.WithLabelValues(way).Inc()
	}
}

// Sessions returns s with its sign-ins, refreshes and log-offs counted.
func (m *Metrics) Sessions(s browser.Sessions) browser.Sessions { return sessions{s, m.useCases} }

type sessions struct {
	browser.Sessions
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

// Logins returns l with its completed and failed sign-ins counted, and nil for nil.
func (m *Metrics) Logins(l browser.Logins) browser.Logins {
	if l == nil {
		return nil
	}
	return logins{l, m.useCases}
}

type logins struct {
	browser.Logins
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

// requests counts and times the requests of the public listener.
type requests struct {
	answered *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newRequests(registry *prometheus.Registry) requests {
	r := requests{
		answered: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tokenbroker_http_requests_total", Help: "HTTP requests by route, method and status.",
		}, []string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tokenbroker_http_request_duration_seconds", Help: "Time to answer an HTTP request, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"route"}),
	}
	registry.MustRegister(r.answered, r.duration)
	return r
}

// HTTP records one answered request. The route is a pattern or "unmatched", never a path.
func (r requests) HTTP(route, method string, status int, d time.Duration) {
	r.answered.WithLabelValues(route, methodLabel(method), statusLabel(status)).Inc()
	r.duration.WithLabelValues(route).Observe(d.Seconds())
}

func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return other
}

func statusLabel(status int) string {
	if http.StatusText(status) == "" {
		return other
	}
	return strconv.Itoa(status)
}

// other is the label of values that are not in a closed set.
const other = "other"

// closed is a closed set of label values.
type closed[T ~string] map[T]bool

func setOf[T ~string](values ...T) closed[T] {
	set := closed[T]{}
	for _, v := range values {
		set[v] = true
	}
	return set
}

func (c closed[T]) label(v T) string {
	if c[v] {
		return string(v)
	}
	return other
}

var (
	kinds = setOf(revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID, revocation.KindAll)

	reasons = setOf(revocation.ReasonLogoff, revocation.ReasonReuse, revocation.ReasonRollback, revocation.ReasonRevoked,
		revocation.ReasonUserDisabled, revocation.ReasonAllOthers, revocation.ReasonBackchannel, revocation.ReasonUpstream,
		revocation.ReasonKeyCompromise, revocation.ReasonRestore)

	// codes are the error codes of sign-in, refresh and log-off.
	codes = setOf(broker.CodeInvalidCredentials, broker.CodeTooManyAttempts, broker.CodeNoSession, broker.CodeCSRF,
		broker.CodeWrongChannel, broker.CodeSessionExpired, broker.CodeSessionEnded, broker.CodeSessionRevoked,
		broker.CodeRefreshReused, broker.CodeTooManyReplays, broker.CodeTooManySessions, broker.CodeGenerationAhead, broker.CodeUserDisabled, broker.CodeUnknownProvider,
		broker.CodeUpstreamUnavailable, broker.CodeUpstreamToken, broker.CodeUpstreamExpired, broker.CodeEmailNotVerified,
		broker.CodeProfileTooLarge, broker.CodeProfileInvalid,
		broker.CodeTokenUsed, broker.CodeLoginState, broker.CodeLoginUsed, broker.CodeProviderError, broker.CodeBusy,
		broker.CodeWritesRefused, broker.CodeUnavailable, broker.CodeClaimsFailed, broker.CodeInternal)
)

// result returns the label for the result of a use case: ok or an error code.
func result(err error) string {
	var refusal *broker.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal):
		return codes.label(refusal.Code)
	default:
		return string(broker.CodeInternal)
	}
}
