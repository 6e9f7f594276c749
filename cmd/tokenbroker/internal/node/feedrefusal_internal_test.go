package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/revocation/ledger"
)

func TestFeedRefusals(t *testing.T) {
	for cause, want := range map[error]broker.Code{
		ledger.ErrBadPosition:    httpapi.CodeInvalidPosition,
		ledger.ErrOutdated:       httpapi.CodeProtocolOutdated,
		ledger.ErrSilent:         broker.CodeUnavailable,
		ledger.ErrNoView:         broker.CodeUnavailable,
		context.DeadlineExceeded: "",
	} {
		var got *broker.Error
		err := feedRefusal(fmt.Errorf("answering: %w", cause))
		if errors.As(err, &got); want == "" && err != nil || want != "" && (got == nil || got.Code != want) {
			t.Errorf("%v: %v", cause, err)
		}
		if want == broker.CodeUnavailable && got.RetryAfter != time.Second {
			t.Errorf("%v: retry after %v", cause, got.RetryAfter)
		}
	}
}
