package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"tokenbroker/api/look"
	"tokenbroker/broker"
)

// LogEntry collects the attributes of one request for the access log and the audit log. Only the
// request's own goroutine uses it.
type LogEntry struct {
	// ID is the request id.
	ID string
	// Route is the pattern of the route, "preflight" or "unmatched".
	Route string
	// Addr is the client's address. It is empty on a unix socket.
	Addr string
	// Operator is the operator who makes the request, on the operators' listeners.
	Operator string
	// Code and Cause are those of the problem that was answered.
	Code  broker.Code
	Cause error
	// Audited reports whether the audit log has a line about this request.
	Audited bool
	// Page is set if a refusal of the request is a page for every caller, not only for browsers.
	Page bool

	home func() string // see [Middleware]
	look *look.Look
}

type entryKey struct{}

// begin copies r with a new entry in its context and without the path's trailing slash. The id is
// that of X-Request-Id only if the sender is trusted: any other sender could use the id of another
// request in the audit log.
func begin(r *http.Request, s sender, trusted bool) (*http.Request, *LogEntry) {
	x := &LogEntry{ID: rand.Text(), Route: "unmatched"}
	if s.addr.IsValid() {
		x.Addr = s.addr.String()
	}
	if sent := r.Header.Values("X-Request-Id"); trusted && len(sent) == 1 && validRequestID(sent[0]) {
		x.ID = sent[0]
	}
	r = r.WithContext(context.WithValue(r.Context(), entryKey{}, x))
	// The escaped path decides: a name that ends in %2F keeps its end.
	if p := r.URL.EscapedPath(); len(p) > 1 && strings.HasSuffix(p, "/") {
		u := *r.URL
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
		r.URL = &u
	}
	return r, x
}

// EntryOf returns the log entry of a request that passed [Middleware.Wrap].
func EntryOf(r *http.Request) *LogEntry {
	if x, ok := r.Context().Value(entryKey{}).(*LogEntry); ok {
		return x
	}
	return &LogEntry{}
}

func validRequestID(id string) bool {
	return len(id) > 0 && len(id) <= 64 && !strings.ContainsFunc(id, notInToken)
}

// recorder records the status and the size of an answer.
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

// Flush implements [http.Flusher], which gin's writer requires.
func (w *recorder) Flush() {
	if f, ok := w.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// StatusOf returns the status that was written to w, the writer of a request that passed
// [Middleware.Wrap], or 0 if there is none yet.
func StatusOf(w http.ResponseWriter) int {
	if rec, ok := w.(*recorder); ok {
		return rec.status
	}
	return 0
}

// Middleware configures the outermost layer of a listener.
type Middleware struct {
	Logger *slog.Logger
	// Observe is called after each request with the route's pattern or "unmatched", never with a
	// path. It may be nil.
	Observe func(route, method string, status int, d time.Duration)
	// HTTPS is set where every browser reaches the listener over TLS.
	HTTPS bool
	// Clients finds the client of a request. If nil, the client is the peer.
	Clients *ClientResolver
	// TrustRequestID reports whether the request's X-Request-Id is used as its id. If nil, only the ids of
	// trusted proxies are used.
	TrustRequestID func(*http.Request) bool
	// Home returns where a page leads back to, or "" if there is no such page. If nil, refusals are never pages.
	Home func() string
	// Look is the look of pages. If nil, it is [look.Default].
	Look *look.Look
}

// Wrap returns a handler that passes each request to next with a [LogEntry] and without the
// path's trailing slash. It sets the request id and the security headers, recovers from panics,
// and writes one log line and one observation. It logs the route's pattern, never the path or
// the query, and neither headers nor bodies.
func (m Middleware) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now()
		w := &recorder{ResponseWriter: rw}
		from := m.Clients.sender(r)
		trusted := from.trusted
		if m.TrustRequestID != nil {
			trusted = m.TrustRequestID(r)
		}
		r, x := begin(r, from, trusted)
		x.home, x.look = m.Home, cmp.Or(m.Look, look.Default())
		h := w.Header()
		h.Set("X-Request-Id", x.ID)
		secure(h, m.HTTPS)

		done := func() {
			d := time.Since(start)
			if w.status == 0 {
				w.status = http.StatusOK
			}
			logRequest(r, w, x, d, m.Logger)
			if m.Observe != nil {
				m.Observe(x.Route, KnownMethod(r.Method), w.status, d)
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
				m.Logger.LogAttrs(r.Context(), slog.LevelError, "panic in a handler",
					slog.String("request_id", x.ID), slog.String("route", x.Route),
					slog.String("panic", panicText(p)), slog.String("stack", string(debug.Stack())))
				if w.status != 0 { // too late for another answer: the caller must not take it for complete
					done()
					panic(http.ErrAbortHandler)
				}
				h.Del("Set-Cookie")
				Fail(w, r, &broker.Error{Code: broker.CodeInternal, Err: errors.New("panic")})
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

func logRequest(r *http.Request, w *recorder, x *LogEntry, d time.Duration, logger *slog.Logger) {
	level := slog.LevelInfo
	switch {
	case errors.Is(x.Cause, broker.ErrClientDocument), errors.Is(x.Cause, broker.ErrClientKeys):
		// Anyone can name a host that does not answer, which is not a failure of the broker.
	case w.status >= 500, x.Cause != nil && Status(x.Code) >= 500: // a redirect can hide a failure
		level = slog.LevelError
	case x.Audited: // one line is enough
		level = slog.LevelDebug
	case x.Route == "/livez" || x.Route == "/healthz" || x.Route == "/readyz":
		level = slog.LevelDebug
	}
	if !logger.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs, slog.String("method", KnownMethod(r.Method)), slog.String("route", x.Route), slog.Int("status", w.status),
		slog.Duration("duration", d), slog.Int64("bytes", w.bytes), slog.String("request_id", x.ID))
	if x.Code != "" {
		attrs = append(attrs, slog.String("code", string(x.Code)))
	}
	if x.Cause != nil {
		attrs = append(attrs, slog.String("error", x.Cause.Error()))
	}
	logger.LogAttrs(r.Context(), level, "request", attrs...)
}

// KnownMethod returns m if it is one of the usual methods and "other" otherwise, so that callers
// cannot choose metric labels and log text.
func KnownMethod(m string) string {
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

// secure sets the security headers of every answer. They are those of an API; pages replace the policy.
func secure(h http.Header, https bool) {
	if https {
		h.Set("Strict-Transport-Security", hsts)
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// BrokerRequest returns the description of a request for the use cases.
func BrokerRequest(r *http.Request) broker.Request {
	x := EntryOf(r)
	return broker.Request{Addr: x.Addr, UserAgent: cut(r.UserAgent(), 256), ID: x.ID}
}

// cut shortens s to n bytes of valid UTF-8.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for i := 0; i < utf8.UTFMax && len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]); i++ {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "?")
}

// maxWait is the longest time that an answer may wait for the services' receipts.
const maxWait = 10 * time.Second

// WithWait sets req.Wait from the query's wait, a duration as Go writes it ("2s", "500ms");
// without it the answer waits for no receipts.
func WithWait(r *http.Request, req broker.Request) (broker.Request, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return req, InvalidParameter("the query cannot be parsed")
	}
	switch given := values["wait"]; len(given) {
	case 0:
		return req, nil
	case 1:
		if req.Wait, err = time.ParseDuration(given[0]); err != nil || req.Wait <= 0 || req.Wait > maxWait {
			return req, InvalidParameter("wait must be a duration above 0 and up to " + maxWait.String() + ", for example 2s")
		}
		return req, nil
	}
	return req, &broker.Error{Code: CodeRepeatedParameter, Message: "wait occurs twice; send it once"}
}
