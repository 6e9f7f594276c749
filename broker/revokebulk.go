package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"tokenbroker/revocation"
)

// MaxBulkRevocation is how many values one [Broker.RevokeBulk] takes: two of them share a
// batch of the ledger.
const MaxBulkRevocation = revocation.MaxBatchEvents / 2

// bulkAtOnce is how many sessions or users of one request are in the mailboxes at a time.
const bulkAtOnce = 128

// RevokeBulk revokes many values of one kind as [Broker.RevokeToken], [Broker.RevokeSession]
// or [Broker.RevokeUser] does each. Tokens are one change; after an error some of the sessions
// or users may be done and others not, and to ask again is safe. Errors:
// CodeInvalidRevocation, with nothing done.
func (b *Broker) RevokeBulk(ctx context.Context, bulk BulkRevocation, req Request) (BulkRevoked, error) {
	why, values, err := bulk.validate()
	if err != nil {
		return BulkRevoked{}, err
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	done := BulkRevoked{Kind: string(bulk.Kind)}
	var seq uint64
	if bulk.Kind == revocation.KindJTI {
		done.Recorded = len(values)
		done.Changed, seq, err = b.revokeTokens(ctx, values, why, req.Operator)
	} else {
		seq, err = b.revokeEach(ctx, &done, values, func(value string) (bool, uint64, error) {
			if bulk.Kind == revocation.KindSID {
				return b.endSession(ctx, value, why, req)
			}
			user, seq, err := b.endUserByRef(ctx, value, why, req)
			return user.Changed, seq, err
		})
	}
	if err != nil {
		return BulkRevoked{}, b.internal(ctx, "revoking in bulk", err)
	}
	b.audit(ctx, "bulk_revoke", req, "kind", done.Kind, "reason", string(why), "recorded", done.Recorded,
		"changed", done.Changed, "unknown", done.Unknown, "first", values[0], "last", values[len(values)-1])
	done.Broadcast, done.ReceiptSummary = tell.services(ctx, seq)
	return done, nil
}

// revokeEach calls revoke for the values, some at a time, and counts. seq is the latest head.
func (b *Broker) revokeEach(ctx context.Context, done *BulkRevoked, values []string, revoke func(string) (bool, uint64, error)) (seq uint64, err error) {
	unknown := make([]bool, len(values))
	var (
		mu    sync.Mutex // guards done and seq
		group errgroup.Group
	)
	group.SetLimit(bulkAtOnce)
	for i, value := range values {
		group.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			changed, at, err := revoke(value)
			var app *Error
			if errors.As(err, &app) && (app.Code == CodeUnknownSession || app.Code == CodeUnknownUser) {
				unknown[i] = true
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			done.Recorded++
			seq = max(seq, at)
			if changed {
				done.Changed++
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	for i, value := range values {
		if unknown[i] {
			done.Unknown++
			done.UnknownValues = append(done.UnknownValues, value)
		}
	}
	return seq, nil
}

// validate returns the reason and the values without repetitions.
func (bulk BulkRevocation) validate() (revocation.Reason, []string, error) {
	refuse := func(format string, args ...any) error {
		return &Error{Code: CodeInvalidRevocation, Message: fmt.Sprintf(format, args...)}
	}
	why, err := parseReason(bulk.Reason)
	if err != nil {
		return "", nil, err
	}
	switch bulk.Kind {
	case revocation.KindJTI, revocation.KindSID, revocation.KindSub:
	default:
		return "", nil, refuse("The kind must be jti, sid or sub.")
	}
	if n := len(bulk.Values); n == 0 || n > MaxBulkRevocation {
		return "", nil, refuse("There must be 1 to %d values.", MaxBulkRevocation)
	}
	values := make([]string, 0, len(bulk.Values))
	seen := make(map[string]bool, len(bulk.Values))
	for i, value := range bulk.Values {
		var app *Error
		if errors.As(ValidateRevocation(bulk.Kind, value), &app) {
			return "", nil, refuse("Value %d: %s", i+1, app.Message)
		}
		if !seen[value] {
			seen[value] = true
			values = append(values, value)
		}
	}
	return why, values, nil
}
