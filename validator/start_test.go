package validator

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/internal/pipehttp"
	"tokenbroker/revocation"
)

const discoveryPath = "/.well-known/openid-configuration"

// answering answers every request for a path ("/": for any) with a status, and otherwise as the broker does.
func answering(path string, status int, header ...string) func(*life, *syncer) {
	return func(l *life, _ *syncer) {
		l.instead = func(r *http.Request) (*http.Response, error) {
			if path != "/" && path != r.URL.Path {
				return nil, nil
			}
			w := httptest.NewRecorder()
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			resp := w.Result()
			resp.Request = r
			return resp, nil
		}
	}
}

func failing(err error) func(*life, *syncer) {
	return func(l *life, _ *syncer) {
		l.instead = func(*http.Request) (*http.Response, error) { return nil, err }
	}
}

func TestStartFailsAtOnceIfAnotherAttemptCannotHelp(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(l *life, s *syncer)
		want   string
	}{
		"wrong secret":        {func(_ *life, s *syncer) { s.broker.client.Secret = "wrong" }, "/revocations answers 401 Unauthorized: check the client's id and secret"},
		"unknown client":      {func(_ *life, s *syncer) { s.broker.client.ID = "unknown" }, "check the client's id and secret"},
		"client without feed": {answering("/revocations", 403), "/revocations answers 403 Forbidden: check the client's id and secret"},
		"another issuer":      {func(_ *life, s *syncer) { s.broker.issuer += "/x" }, `it is of issuer "http://issuer.test", want "http://issuer.test/x"`},
		"nothing there":       {answering(discoveryPath, 404), "http://issuer.test/.well-known/openid-configuration answers 404 Not Found: check that Issuer"},
		"feed keys not there": {answering("/revocations/jwks.json", 404), "/revocations/jwks.json answers 404"},
		"a redirect":          {answering("/", 301, "Location", "https://issuer.test/"), `answers 301 Moved Permanently to "https://issuer.test/"`},
		"a page":              {answering(discoveryPath, 200, "Content-Type", "text/html"), "another content type than JSON"},
		"a page for catch-up": {answering("/revocations", 200, "Content-Type", "text/html"), "content type"},
		"plain HTTP for TLS":  {failing(http.ErrSchemeMismatch), "HTTP response to HTTPS client"},
		"unknown authority": {failing(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
			"certificate signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *life, s *syncer) {
				tt.change(l, s)
				s.cfg.StartTimeout = 30 * time.Second
				began := time.Now()
				err := s.start(t.Context())
				if !errors.Is(err, ErrMisconfigured) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %v", err)
				}
				if waited := time.Since(began); waited > 0 {
					t.Errorf("after %v", waited)
				}
				if err != nil && strings.Contains(err.Error(), fakeSecret) {
					t.Error("the error contains the secret")
				}
			})
		})
	}
}

func TestStartEndsWithItsTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(l *life, s *syncer)
		want   string
	}{
		"HTTP away":          {func(l *life, _ *syncer) { l.httpDown = true }, "unexpected EOF"},
		"a silent answer":    {func(l *life, _ *syncer) { l.hang = make(chan struct{}) }, errSilent.Error()},
		"no usable key":      {func(l *life, _ *syncer) { l.tokenKeys = nil }, "no key to verify tokens with"},
		"the store is bad":   {func(l *life, _ *syncer) { l.store = "" }, "names no store"},
		"broker not ready":   {answering("/", 503), "answers 503 Service Unavailable"},
		"too many requests":  {answering("/", 429), "answers 429 Too Many Requests"},
		"gateway without it": {answering("/revocations", 502), "/revocations answers 502 Bad Gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, l *life, s *syncer) {
				tt.change(l, s)
				s.cfg.StartTimeout = 7 * time.Second
				began := time.Now()
				err := s.start(t.Context())
				if err == nil || !strings.Contains(err.Error(), "not ready within 7s (StartTimeout)") || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
				if errors.Is(err, ErrMisconfigured) {
					t.Errorf("blames the configuration: %v", err)
				}
				if waited := time.Since(began); waited != 7*time.Second {
					t.Errorf("after %v", waited)
				}
			})
		})
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		l.httpDown = true
		s.cfg.StartTimeout = -1
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.start(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "unexpected EOF") {
			t.Errorf("got %v", err)
		}
	})
}

// A broker that refuses later is waited for: a service that runs is not ended by it.
func TestRefusalAfterTheStartIsRetried(t *testing.T) {
	inBubble(t, func(t *testing.T, l *life, s *syncer) {
		mustStart(t, s)
		l.set(func() { answering("/", 401)(l, s) })
		s.Gap(errors.New("lost"))
		time.Sleep(time.Minute)
		if isFresh(s) || !l.logged("check the client's id and secret") {
			t.Error("fresh without an answer")
		}
		l.set(func() { l.instead = nil })
		l.beatFor(15 * time.Second)
		if !isFresh(s) {
			t.Error("not fresh again")
		}
	})
}

// New waits for half a minute by itself: the whole of it, over HTTP.
func TestNewHasAStartTimeout(t *testing.T) {
	for wait, config := range map[time.Duration]Config{
		30 * time.Second: {},
		5 * time.Second:  {StartTimeout: 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			broker := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			pipehttp.Start(t, broker)
			config.Issuer, config.Audience, config.Client = "http://127.0.0.1", "orders", Client{ID: "orders", Secret: fakeSecret}
			config.Feed, config.HTTPClient = noFeed{}, broker.Client()
			config.Logger = slog.New(slog.DiscardHandler)
			began := time.Now()
			v, err := New(t.Context(), config)
			if err == nil {
				v.Close()
				t.Fatal("started without a broker")
			}
			if waited := time.Since(began); waited != wait {
				t.Errorf("waited %v, want %v", waited, wait)
			}
			broker.Client().CloseIdleConnections()
		})
	}
}

func TestNewFailsAtOnceWithAWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/revocations" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		pipehttp.Start(t, broker)
		var log bytes.Buffer
		began := time.Now()
		_, err := New(t.Context(), Config{
			Issuer: "http://127.0.0.1", Audience: "orders", Client: Client{ID: "orders", Secret: fakeSecret}, Feed: noFeed{},
			HTTPClient: broker.Client(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if !errors.Is(err, ErrMisconfigured) || !strings.Contains(err.Error(), "http://127.0.0.1/revocations answers 401 Unauthorized") {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(began); waited > time.Second {
			t.Errorf("after %v of fake time", waited)
		}
		if strings.Contains(log.String()+err.Error(), fakeSecret) {
			t.Error("the secret is shown")
		}
		broker.Client().CloseIdleConnections()
	})
}

type noFeed struct{}

func (noFeed) Open(context.Context, revocation.Sink) (io.Closer, error) {
	return noFeed{}, nil
}

func (noFeed) Close() error { return nil }
