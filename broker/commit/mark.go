package commit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/store"
)

// Mark is the replay mark of a value that may be used once: a record once.<purpose>.<hash> that is
// created at most once, and kept until the value has expired.
type Mark struct {
	key       string
	expiresAt int64 // Unix s
}

type markRecord struct {
	V int `json:"v"`
}

// NewMark returns the mark of a value that expires at expires.
func NewMark(purpose, value string, expires time.Time) Mark {
	sum := sha256.Sum256([]byte(value))
	return Mark{key: "once." + purpose + "." + broker.Base32.EncodeToString(sum[:]), expiresAt: expires.Unix()}
}

// Exists reports whether the mark is on record, which means that the value has been used.
func (m Mark) Exists(ctx context.Context, r store.Reader) (bool, error) {
	_, err := r.Get(ctx, m.key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading a replay mark: %w", err)
	}
	return true, nil
}

// Write returns the write that creates the mark. It meets a conflict if the mark is on record.
func (m Mark) Write() (store.Write, error) {
	value, err := json.Marshal(markRecord{V: directory.RecordVersion})
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding a replay mark: %w", err)
	}
	return store.Write{Key: m.key, Value: value, ExpiresAt: m.expiresAt}, nil
}

// UseOnce creates the mark, durably. used is true if it was already on record.
func (p *Path) UseOnce(ctx context.Context, mark Mark) (used bool, err error) {
	write, err := mark.Write()
	if err != nil {
		return false, err
	}
	errs, _, err := p.Commit(ctx, store.Change{Writes: []store.Write{write}})
	switch {
	case err != nil:
		return false, err
	case errors.Is(errs[0], store.ErrConflict):
		return true, nil
	default:
		return false, errs[0]
	}
}
