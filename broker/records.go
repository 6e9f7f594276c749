package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// recordVersion is the version of the records that this package encodes itself.
const recordVersion = 1

// readRecord reads the record of a key into a value and checks its version. Its revision is zero,
// and the value is left as it was, when there is none.
func readRecord(ctx context.Context, r store.Reader, what, key string, into any, version *int) (store.Revision, error) {
	rec, err := r.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", what, err)
	}
	return rec.Revision, decodeRecord(what, rec.Value, into, version)
}

// decodeRecord reads a stored record and checks its version; an unreadable one is
// [session.ErrRecord], never an empty record.
func decodeRecord(what string, data []byte, into any, version *int) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %s: %w: %w", what, session.ErrRecord, err)
	}
	if *version != recordVersion {
		return fmt.Errorf("reading %s: %w: version %d", what, session.ErrRecord, *version)
	}
	return nil
}
