package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
	"unicode/utf8"

	"tokenbroker/broker"
)

// exchange is what one request collects on its way for its log line. Only the request's
// own goroutine touches it.
type exchange struct {
	id    string
	route string
	// addr is the client's address; empty on a unix socket.
	addr string
	// home returns where a page leads back to; if nil, refusals are never pages.
	home func() string
	// operator is who asks through the operators' handler.
	operator string
	// code and cause are those of the problem that was answered.
	code  broker.Code
	cause error
	// audited says that the audit log has a line about this request.
	audited bool
}

type exchangeKey struct{}

// begin copies r with a new exchange in its context and without the path's trailing slash. Its
// id is the sender's only if that is trusted: others could give their requests the id of
// somebody else's in the audit log.
func begin(r *http.Request, s sender, trusted bool) (*http.Request, *exchange) {
	x := &exchange{id: rand.Text(), route: "unmatched"}
	if s.addr.IsValid() {
		x.addr = s.addr.String()
	}
	if sent := r.Header.Values("X-Request-Id"); trusted && len(sent) == 1 && validRequestID(sent[0]) {
		x.id = sent[0]
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	// By the escaped path: a name that ends in %2F keeps its end.
	if p := r.URL.EscapedPath(); len(p) > 1 && strings.HasSuffix(p, "/") {
		u := *r.URL
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
		r.URL = &u
	}
	return r, x
}

// exchangeOf returns the exchange of a request that passed [observed].
func exchangeOf(r *http.Request) *exchange {
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

func validRequestID(id string) bool {
	return len(id) > 0 && len(id) <= 64 && strings.IndexFunc(id, notInID) < 0
}

func notInID(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
}

// brokerRequest is what the use cases may know of a request.
func brokerRequest(r *http.Request) broker.Request {
	x := exchangeOf(r)
	return broker.Request{Addr: x.addr, UserAgent: cut(r.UserAgent(), 256), ID: x.id}
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
