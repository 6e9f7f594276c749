// Package wsauth ends WebSockets with their tokens: a connection is closed with code 4401
// the moment its token is revoked or expires. It is a separate package so that a service
// without WebSockets does not compile github.com/coder/websocket.
package wsauth

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"tokenbroker/validator/httpauth"
)

// closeTimeout is how long a peer may take to receive the reason for the close.
const closeTimeout = time.Second

// Handler accepts a request's WebSocket and calls serve with it; use it inside
// [httpauth.Require]. A request without claims in its context is answered with 401. When the
// token is revoked or expires, or b is closed, the peer gets a close frame with
// [httpauth.StatusTokenEnded] and the reason of [httpauth.Ended]; from then on nothing else
// is written. At most a second later, or once the peer has also closed, serve's context ends
// and the connection with it. When serve returns, the connection is closed. What is refused,
// also by the origin check, is reported to the log and the hook of that Require.
//
//	mux.Handle("GET /ws", httpauth.Require(v)(wsauth.Handler(v, nil, func(ctx context.Context, conn *websocket.Conn) {
//		for {
//			kind, message, err := conn.Read(ctx)
//			if err != nil {
//				return
//			}
//			// ...
//		}
//	})))
//
// A browser cannot set Authorization on a WebSocket: let it send the token another way that
// httpauth.Require is given by your own middleware, and never in the URL, which is logged.
// options may be nil; the origin check of the library stays on unless they say otherwise.
func Handler(b httpauth.Binder, options *websocket.AcceptOptions, serve func(context.Context, *websocket.Conn)) http.Handler {
	return httpauth.Stream(b)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, options)
		if err != nil { // it has answered
			httpauth.Refused(r, fmt.Errorf("accepting the WebSocket: %w", err))
			return
		}
		defer func() { _ = conn.CloseNow() }()
		token := r.Context()
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(token))
		defer cancel(nil)
		closed := make(chan struct{})
		stop := context.AfterFunc(token, func() {
			defer close(closed)
			late := time.AfterFunc(closeTimeout, func() { cancel(context.Cause(token)) })
			defer late.Stop()
			if code := httpauth.Ended(token); code != "" {
				_ = conn.Close(httpauth.StatusTokenEnded, code) // a peer that is gone is closed all the same
			}
			cancel(context.Cause(token))
		})
		serve(ctx, conn)
		if !stop() {
			_ = conn.CloseNow()
			<-closed
		}
	}))
}
