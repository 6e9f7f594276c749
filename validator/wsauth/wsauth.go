// Package wsauth closes WebSockets whose tokens end: a connection is closed with code 4401
// as soon as its token is revoked or expires. It is a separate package so that a service
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
// and the connection with it. When serve returns, the connection is closed. Refusals, including
// those by the origin check, are reported to the log and the [httpauth.OnRefused] function of that
// Require.
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
// A browser cannot set the Authorization header of a WebSocket: let it send the token in another
// way, but never in the URL, which is logged, and let your own middleware set the header before
// httpauth.Require. options may be nil; the library checks the origin unless options disable it.
func Handler(b httpauth.Binder, options *websocket.AcceptOptions, serve func(context.Context, *websocket.Conn)) http.Handler {
	return httpauth.Stream(b)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, options)
		if err != nil { // Accept has answered the request
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
				_ = conn.Close(httpauth.StatusTokenEnded, code) // an error means that the peer has already gone
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
