package adminclient

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"tokenbroker/broker"
)

// patience is how long a request is sent again that the server cannot answer for now. It is longer than an election of the
// engine that several brokers share, and the time until a broker has read that engine again.
const patience = 10 * time.Second

// doneAlready are the refusals of a change that an earlier attempt may have made.
var doneAlready = []broker.Code{broker.CodeUserExists, broker.CodeUnknownUser, broker.CodeClientExists, broker.CodeUnknownClient}

// patiently calls ask, which sends a request, again after the time in Retry-After while the server answers 503 with
// [broker.CodeUnavailable] or [broker.CodeBusy], for at most [patience]. Usually such a request was not begun; but a server that
// was stopped meanwhile may have done it. All requests of operators may be sent twice: the second changes nothing, or does
// again what was asked for. Only its answer may be the refusal of a user or client that exists already, or no longer, and then says so.
func patiently(ctx context.Context, method string, ask func() error) error {
	end := time.Now().Add(patience)
	for again := false; ; again = true {
		err := ask()
		var p *Problem
		if !errors.As(err, &p) {
			return err
		}
		if again && method != http.MethodGet && slices.Contains(doneAlready, p.Code) {
			p.hint += "; an earlier attempt of this command, which was answered 503, may be the cause: look"
		}
		if p.Code != broker.CodeUnavailable && p.Code != broker.CodeBusy || p.retryAfter == 0 || time.Now().Add(p.retryAfter).After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(p.retryAfter):
		}
	}
}
