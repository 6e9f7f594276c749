package httpauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"tokenbroker/validator"
)

// StatusTokenEnded is the code that a WebSocket is closed with when its token was revoked or
// has expired (RFC 6455 §7.4.2: 4000-4999 are for applications); [Ended] returns the text of the
// reason. Package wsauth closes connections of github.com/coder/websocket with it.
const StatusTokenEnded = 4401

// Binder returns contexts that end with a token. [*validator.Validator] implements it.
type Binder interface {
	Bind(ctx context.Context, claims *validator.Claims) (context.Context, context.CancelFunc)
}

var _ Binder = (*validator.Validator)(nil)

// Stream is a middleware for long-running handlers; use it inside [Require]. The request's
// context ends when its token is revoked or expires (see [validator.Validator.Bind]), and
// when the client disconnects. A request without claims in its context is answered with 401.
//
//	mux.Handle("GET /events", httpauth.Require(v)(httpauth.Stream(v)(events)))
//
//	func events(w http.ResponseWriter, r *http.Request) {
//		w.Header().Set("Content-Type", "text/event-stream")
//		for {
//			select {
//			case e := <-news:
//				fmt.Fprintf(w, "data: %s\n\n", e)
//				http.NewResponseController(w).Flush()
//			case <-r.Context().Done():
//				httpauth.WriteEnd(r.Context(), w)
//				return
//			}
//		}
//	}
//
// A handler that is blocked in a write notices the end only after the write: set a write deadline for slow
// readers with [http.ResponseController].
func Stream(b Binder) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			claims, ok := validator.FromContext(r.Context())
			if !ok {
				Refused(r, errNoRequire)
				tokenMissing.write(w, tokenMissing.challenge)
				return
			}
			ctx, cancel := b.Bind(r.Context(), claims)
			defer cancel()
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

// Ended returns why a context of [Stream] has ended, as one of the codes of [Require]:
// token_revoked, token_expired, or validator_closed when the service stops. It is empty if
// the context has not ended, or if the client or another part of the service ended it.
func Ended(ctx context.Context) (code string) {
	code, _ = endOf(ctx)
	return code
}

var errNoRequire = errors.New("no claims in the request's context: Stream has to be inside Require")

func endOf(ctx context.Context) (code, event string) {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, validator.ErrRevoked):
		return tokenRevoked.Code, "revoked"
	case errors.Is(cause, validator.ErrExpired):
		return tokenExpired.Code, "expired"
	case errors.Is(cause, validator.ErrClosed):
		return "validator_closed", "closed"
	}
	return "", ""
}

// WriteEnd writes the last server-sent event of a stream and flushes it:
//
//	event: revoked
//	data: {"code":"token_revoked"}
//
// According to [Ended], the event is revoked, expired or closed (try again later). WriteEnd writes
// nothing if Ended returns an empty code.
func WriteEnd(ctx context.Context, w http.ResponseWriter) error {
	code, event := endOf(ctx)
	if code == "" {
		return nil
	}
	if _, err := fmt.Fprintf(w, "event: %s\ndata: {\"code\":%q}\n\n", event, code); err != nil {
		return fmt.Errorf("writing the last event: %w", err)
	}
	if err := http.NewResponseController(w).Flush(); err != nil {
		return fmt.Errorf("flushing the last event: %w", err)
	}
	return nil
}
