package operator

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/revocation"
)

// BulkRevocation is many values of one kind to be revoked: jti, sid or sub (uids or local
// user names).
type BulkRevocation struct {
	Kind   revocation.Kind
	Values []string // 1 … [MaxBulkRevocation]
	Reason string
}

// BulkRevoked is the answer to a [BulkRevocation]. The revocations are durable if there is no error.
type BulkRevoked struct {
	Kind string `json:"kind"`
	// Recorded is the number of values that are now revoked, Changed the number of those that were not
	// revoked before, and Unknown the number of values that identify no session or user. A repeated value counts once.
	Recorded int `json:"recorded"`
	Changed  int `json:"changed"`
	Unknown  int `json:"unknown"`
	// UnknownValues are the unknown values, in the order of the request.
	UnknownValues []string `json:"unknown_values,omitempty"`
	// Broadcast is false if the records are durable but a message was not sent yet.
	Broadcast bool `json:"broadcast"`
	// ReceiptSummary is for all revocations together. It is nil if Request.Wait was zero.
	*broker.ReceiptSummary
}

// MaxBulkRevocation is the maximum number of values of one [Service.RevokeBulk]. Two such requests fit into a
// batch of the ledger.
const MaxBulkRevocation = revocation.MaxBatchEvents / 2

// bulkAtOnce is the number of sessions or users of one request that are in the mailboxes at a time.
const bulkAtOnce = 128

// RevokeBulk revokes many values of one kind, each as [Service.RevokeToken], [Service.RevokeSession]
// or [Service.RevokeUser] does. Tokens are revoked in one change. After an error some of the sessions
// or users may be revoked and others not; calling RevokeBulk again is safe. Errors:
// CodeInvalidRevocation, after which nothing was revoked.
func (svc *Service) RevokeBulk(ctx context.Context, bulk BulkRevocation, req broker.Request) (BulkRevoked, error) {
	why, values, err := bulk.validate()
	if err != nil {
		return BulkRevoked{}, err
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	done := BulkRevoked{Kind: string(bulk.Kind)}
	var seq uint64
	if bulk.Kind == revocation.KindJTI {
		done.Recorded = len(values)
		done.Changed, seq, err = svc.path.RevokeTokens(ctx, values, why, req.Operator)
	} else {
		seq, err = svc.revokeEach(ctx, &done, values, func(value string) (bool, uint64, error) {
			if bulk.Kind == revocation.KindSID {
				return svc.endSession(ctx, value, why, req)
			}
			user, seq, err := svc.endUserByRef(ctx, value, why, req)
			return user.Changed, seq, err
		})
	}
	if err != nil {
		return BulkRevoked{}, commit.AppError(ctx, "revoking in bulk", err)
	}
	svc.audit.Info(ctx, "bulk_revoke", req, "kind", done.Kind, "reason", string(why), "recorded", done.Recorded,
		"changed", done.Changed, "unknown", done.Unknown, "first", values[0], "last", values[len(values)-1])
	done.Broadcast, done.ReceiptSummary = delivery.Wait(ctx, seq)
	return done, nil
}

// revokeEach calls revoke for the values, several at a time, and counts the results. seq is the latest head.
func (svc *Service) revokeEach(ctx context.Context, done *BulkRevoked, values []string, revoke func(string) (bool, uint64, error)) (seq uint64, err error) {
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
			var app *broker.Error
			if errors.As(err, &app) && (app.Code == broker.CodeUnknownSession || app.Code == broker.CodeUnknownUser) {
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
		return &broker.Error{Code: broker.CodeInvalidRevocation, Message: fmt.Sprintf(format, args...)}
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
		var app *broker.Error
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
