package httpapi

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"tokenbroker/broker"
)

// LogEntry collects what the access log and the audit log say about one request. Only the
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

	home func() string // see [Middleware]
}

type entryKey struct{}

// begin copies r with a new entry in its context and without the path's trailing slash. Its
// id is the sender's only if that is trusted: others could give their requests the id of
// somebody else's in the audit log.
func begin(r *http.Request, s sender, trusted bool) (*http.Request, *LogEntry) {
	x := &LogEntry{ID: rand.Text(), Route: "unmatched"}
	if s.addr.IsValid() {
		x.Addr = s.addr.String()
	}
	if sent := r.Header.Values("X-Request-Id"); trusted && len(sent) == 1 && validRequestID(sent[0]) {
		x.ID = sent[0]
	}
	r = r.WithContext(context.WithValue(r.Context(), entryKey{}, x))
	// By the escaped path: a name that ends in %2F keeps its end.
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

// BrokerRequest is what the use cases may know of a request.
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

// maxWait bounds how long an answer may wait for the services' receipts.
const maxWait = 10 * time.Second

// WithWait sets req.Wait from the query's wait, a duration as Go writes it ("2s", "500ms");
// without it the answer waits for no receipts.
func WithWait(r *http.Request, req broker.Request) (broker.Request, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return req, InvalidParameter("the query cannot be read")
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
	return req, &broker.Error{Code: CodeRepeatedParameter, Message: "wait comes twice"}
}
