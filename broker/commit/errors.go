package commit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/actor"
	"tokenbroker/broker/password"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// AppError returns the application error for err. An [*broker.Error] in its chain is returned unchanged; any
// other error becomes the cause, which is only for the log.
func AppError(ctx context.Context, doing string, err error) *broker.Error {
	var app *broker.Error
	cause := fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.As(err, &app):
		return app
	case errors.Is(err, actor.ErrBusy), errors.Is(err, password.ErrBusy), errors.Is(err, errConflicts):
		return &broker.Error{Code: broker.CodeBusy, Message: "Too many requests are waiting; try again.", RetryAfter: time.Second, Err: cause}
	case errors.Is(err, store.ErrReadOnly):
		return &broker.Error{Code: broker.CodeWritesRefused, Message: "The store refuses writes at the moment; try again.", RetryAfter: 10 * time.Second, Err: cause}
	case errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrUnavailable):
		return &broker.Error{Code: broker.CodeUnavailable, Message: "The broker cannot use its store at the moment; try again.", RetryAfter: time.Second, Err: cause}
	case errors.Is(err, actor.ErrStopped), errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled), ctx.Err() != nil:
		return &broker.Error{Code: broker.CodeUnavailable, Message: "The broker is shutting down, or the request was canceled; try again.", RetryAfter: time.Second, Err: cause}
	default:
		return &broker.Error{Code: broker.CodeInternal, Message: "An internal error occurred; the broker's log has the details under this request id.", Err: cause}
	}
}

// errConflicts means that a change met a conflict maxConflicts times.
var errConflicts = errors.New("broker: too many revision conflicts")

// Refused returns the application error for a refusal of package session.
func Refused(r session.Refusal) *broker.Error {
	switch r {
	case session.RefuseExpired:
		return &broker.Error{Code: broker.CodeSessionExpired, Message: "The session has expired; sign in again."}
	case session.RefuseEnded:
		return &broker.Error{Code: broker.CodeSessionEnded, Message: "The session was signed out; sign in again."}
	case session.RefuseRevoked:
		return &broker.Error{Code: broker.CodeSessionRevoked, Message: "The session was revoked; sign in again."}
	case session.RefuseUserDisabled:
		return &broker.Error{Code: broker.CodeUserDisabled, Message: "The user is disabled."}
	case session.RefuseSuperseded:
		return &broker.Error{Code: broker.CodeRefreshSuperseded, Message: "This refresh token was replaced by a newer one; use the newer one."}
	case session.RefuseReused:
		return &broker.Error{Code: broker.CodeRefreshReused, Message: "This refresh token was used before, so the session was ended; sign in again."}
	case session.RefuseAhead:
		return &broker.Error{Code: broker.CodeGenerationAhead, Message: "This refresh token is newer than the stored session, so the session was ended; sign in again."}
	case session.RefuseBrowserEnded:
		return &broker.Error{Code: broker.CodeSessionEnded, Message: "The browser session has ended; sign in again."}
	case session.RefuseChannel:
		return &broker.Error{Code: broker.CodeWrongChannel, Message: "This refresh token was issued by another endpoint; present it there."}
	default:
		return &broker.Error{Code: broker.CodeNoSession, Message: "The refresh token is missing, or belongs to no session; sign in."}
	}
}
