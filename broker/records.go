package broker

import (
	"encoding/json"
	"fmt"
)

// recordVersion is the version of the records that this package encodes itself.
const recordVersion = 1

// decodeRecord reads a stored record and checks its version; an unreadable one is an
// error, never an empty record.
func decodeRecord(what string, data []byte, into any, version *int) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	if *version != recordVersion {
		return fmt.Errorf("reading %s: record version %d is not known", what, *version)
	}
	return nil
}
