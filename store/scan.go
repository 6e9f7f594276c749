package store

import "context"

// Scanner is a [Reader] that can show very many records without a copy of each, and several
// ranges of them at once. Engines may have it.
type Scanner interface {
	// Split returns up to parts-1 ascending keys below prefix that divide its records, at a
	// guess in equal parts.
	Split(ctx context.Context, prefix string, parts int) ([]string, error)
	// Scan gives the records whose keys are at least from and less than to, in key order and
	// as of one view. give must neither keep nor change key and value; its error ends the scan.
	Scan(ctx context.Context, from, to string, give func(key, value []byte) error) error
}
