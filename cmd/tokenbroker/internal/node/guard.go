package node

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
)

// requestTimeout is how long a browser's request may take on a shared store, and waitTimeout how long one that also
// waits for receipts.
const (
	requestTimeout = 10 * time.Second
	waitTimeout    = 2 * requestTimeout
)

// need is what a broker on a shared store must have to answer a request.
type need int

const (
	// needStore is a store that answers, and all of the following. It is the need of every path that is not listed.
	needStore need = iota
	// needKeys is a keyring that was read recently, and needClock a clock that other brokers confirm.
	needKeys
	needClock
	// needRun is that the process was not stopped. needNothing is not even that.
	needRun
	needNothing
)

// needs are the needs of the paths of both surfaces.
var needs = map[string]need{
	"/livez": needNothing, "/healthz": needNothing, "/readyz": needNothing, "/metrics": needNothing,
	"/.well-known/openid-configuration": needRun, "/.well-known/oauth-authorization-server": needRun,
	"/": needRun, "/favicon.ico": needRun, "/docs/:name": needRun, "/auth/pages/logo": needRun, "/auth/pages/logo-dark": needRun,
	"/.well-known/jwks.json": needKeys, "/revocations/jwks.json": needKeys, "/admin/v1/keys/jwks": needKeys,
	// The ledger refuses these two if it cannot answer for all brokers.
	"/revocations": needRun, "/revocations/stream": needRun,
	"/revocations/receipt": needRun,
	// Without the store they are answered from memory, for some time.
	"/auth/verify": needClock, "/oauth2/introspect": needClock,
}

func needOf(path string) need {
	if strings.HasPrefix(path, "/web/") {
		return needRun
	}
	return needs[path]
}

// guardPublic is the guard of the public surface.
func (c *cluster) guardPublic(path string, next httpapi.Endpoint) httpapi.Endpoint {
	need := needOf(path)
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := c.admit(w, r, need); err != nil {
			return err
		}
		if need == needStore {
			timeout := requestTimeout
			if r.URL.Query().Has("wait") {
				timeout = waitTimeout
			}
			ctx, cancel := context.WithTimeout(r.Context(), timeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		return next(w, r)
	}
}

// guardAdmin is the guard of the operators' surface. Operators may always read.
func (c *cluster) guardAdmin(path string, next httpapi.Endpoint) httpapi.Endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		need := needOf(path)
		if need == needStore && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			need = needRun
		}
		if err := c.admit(w, r, need); err != nil {
			return err
		}
		return next(w, r)
	}
}

// admit returns the refusal of a request if the broker lacks what it needs.
func (c *cluster) admit(w http.ResponseWriter, r *http.Request, need need) error {
	if need != needNothing && c.pauses.refuses(acceptedAt(r.Context(), c.mono())) {
		w.Header().Set("Connection", "close")
		return cannotAnswer("the process was stopped when the request came, or shortly before")
	}
	reason := ""
	switch need {
	case needStore:
		reason = c.unready()
	case needKeys:
		reason = c.outdatedKeys()
	case needClock:
		reason = c.silent()
	}
	if reason != "" {
		return cannotAnswer(reason)
	}
	return nil
}

// cannotAnswer is the refusal of a request that another broker may be able to answer. The reason is for the log.
func cannotAnswer(reason string) error {
	return &broker.Error{
		Code: broker.CodeUnavailable, Message: "This broker cannot answer for now; try again.", RetryAfter: time.Second, Err: errors.New(reason),
	}
}

type acceptedKey struct{}

// accepted notes the time at which a connection was accepted. It does nothing without a shared store.
func (n *Node) accepted(ctx context.Context, _ net.Conn) context.Context {
	if n.cluster == nil {
		return ctx
	}
	return context.WithValue(ctx, acceptedKey{}, n.mono())
}

// acceptedAt returns when the connection of a request was accepted, or now if that is not known.
func acceptedAt(ctx context.Context, now time.Duration) time.Duration {
	if at, ok := ctx.Value(acceptedKey{}).(time.Duration); ok {
		return at
	}
	return now
}

const (
	// barrierTimeout is how long one attempt to reach what other brokers have recorded takes, and barrierPause the time
	// between attempts.
	barrierTimeout = time.Second
	barrierPause   = 20 * time.Millisecond
	// maxStaleness is how old the knowledge may be by which tokens are checked without the store. It is the default
	// of services.
	maxStaleness = 30 * time.Second
)

// current waits until the denylist has everything that any broker acknowledged before the call. It outlasts the
// election of a leader. If the store has not answered for longer than that, what was known at most maxStaleness
// ago is enough.
func (c *cluster) current(ctx context.Context) error {
	err := c.tryBarrier(ctx)
	for began := c.mono(); passes(err) && ctx.Err() == nil && !c.overdue() && c.mono()-began < overdueAfter; err = c.tryBarrier(ctx) {
		select {
		case <-ctx.Done():
		case <-time.After(barrierPause):
		}
	}
	if err == nil || ctx.Err() == nil && c.mono()-c.proved() <= maxStaleness {
		return nil
	}
	return cannotAnswer("the store does not answer: " + err.Error())
}

// passes reports whether an error of the store ends with an election.
func passes(err error) bool {
	return errors.Is(err, ledger.ErrNoView) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrUnavailable)
}

func (c *cluster) tryBarrier(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, barrierTimeout)
	defer cancel()
	return c.barrier(ctx)
}
