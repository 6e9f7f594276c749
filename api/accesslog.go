package api

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"tokenbroker/broker"
)

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap serves [http.ResponseController].
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is what gin's writer asks for by type.
func (w *recorder) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// surface is what [observed] needs to know of a handler.
type surface struct {
	logger *slog.Logger
	// observe may be nil.
	observe func(route, method string, status int, d time.Duration)
	// https is set where every browser reaches the surface over TLS.
	https bool
	// sender finds who sent a request, and trusts reports whether the request's X-Request-Id is
	// taken.
	sender func(*http.Request) sender
	trusts func(*http.Request, sender) bool
	// home returns where a page leads back to. If nil, refusals are never pages.
	home func() string
}

// observed is the outermost layer: request id, security headers, recovery, one log line and
// one observation for each request. It logs the route's pattern, never the path or the
// query, and neither headers nor bodies.
func observed(next http.Handler, s surface) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now()
		w := &recorder{ResponseWriter: rw}
		from := s.sender(r)
		r, x := begin(r, from, s.trusts(r, from))
		x.home = s.home
		h := w.Header()
		h.Set("X-Request-Id", x.id)
		secure(h, s.https)

		done := func() {
			d := time.Since(start)
			if w.status == 0 {
				w.status = http.StatusOK
			}
			logExchange(r, w, x, d, s.logger)
			if s.observe != nil {
				s.observe(x.route, knownMethod(r.Method), w.status, d)
			}
		}
		defer func() {
			switch p := recover(); p {
			case nil:
				done()
			case http.ErrAbortHandler:
				done()
				panic(p)
			default:
				s.logger.LogAttrs(r.Context(), slog.LevelError, "panic in a handler",
					slog.String("request_id", x.id), slog.String("route", x.route),
					slog.String("panic", panicText(p)), slog.String("stack", string(debug.Stack())))
				if w.status != 0 { // too late for another answer: the caller must not take it for whole
					done()
					panic(http.ErrAbortHandler)
				}
				h.Del("Set-Cookie")
				fail(w, r, &broker.Error{Code: broker.CodeInternal, Err: errors.New("panic")})
				done()
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// panicText describes a panic without the text of a value that might hold a secret.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

func logExchange(r *http.Request, w *recorder, x *exchange, d time.Duration, logger *slog.Logger) {
	level := slog.LevelInfo
	switch {
	case w.status >= 500, x.cause != nil && kinds[x.code].status >= 500: // a redirect can hide a failure
		level = slog.LevelError
	case x.audited: // one line is enough
		level = slog.LevelDebug
	case x.route == "/livez" || x.route == "/healthz" || x.route == "/readyz":
		level = slog.LevelDebug
	}
	if !logger.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs, slog.String("method", knownMethod(r.Method)), slog.String("route", x.route), slog.Int("status", w.status),
		slog.Duration("duration", d), slog.Int64("bytes", w.bytes), slog.String("request_id", x.id))
	if x.code != "" {
		attrs = append(attrs, slog.String("code", string(x.code)))
	}
	if x.cause != nil {
		attrs = append(attrs, slog.String("error", x.cause.Error()))
	}
	logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// knownMethod keeps callers from inventing metric labels and log text.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// hsts keeps browsers on https for a year after their last visit (RFC 6797), long enough for
// users who come back rarely. It leaves out includeSubDomains: hosts below the broker's are not
// its own.
const hsts = "max-age=31536000"

// secure sets the headers that every answer carries: nothing here is a page.
func secure(h http.Header, https bool) {
	if https {
		h.Set("Strict-Transport-Security", hsts)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
