package broker

import (
	"encoding/json"
	"fmt"

	"tokenbroker/broker/session"
)

// recordVersion is the version of the records that this package encodes itself.
const recordVersion = 1

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
