package broker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tokenbroker/store"
)

// onceKey names something that may be used once: a record once.<purpose>.<hash> that is
// only ever created, and kept until the thing itself is dead.
type onceKey struct {
	key       string
	expiresAt int64 // Unix s
}

type onceRecord struct {
	V int `json:"v"`
}

func newOnceKey(purpose, value string, expires time.Time) onceKey {
	sum := sha256.Sum256([]byte(value))
	return onceKey{key: "once." + purpose + "." + lowerBase32.EncodeToString(sum[:]), expiresAt: expires.Unix()}
}

func (o onceKey) exists(ctx context.Context, r store.Reader) (bool, error) {
	_, err := r.Get(ctx, o.key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading what was used: %w", err)
	}
	return true, nil
}

func (o onceKey) write() (store.Write, error) {
	value, err := json.Marshal(onceRecord{V: recordVersion})
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding what was used: %w", err)
	}
	return store.Write{Key: o.key, Value: value, ExpiresAt: o.expiresAt}, nil
}

// useOnce uses up once by itself; used is true when it was used before.
func (b *Broker) useOnce(ctx context.Context, once onceKey) (used bool, err error) {
	write, err := once.write()
	if err != nil {
		return false, err
	}
	result, err := b.committer.Ask(ctx, commitRequest{changes: []change{{Change: store.Change{Writes: []store.Write{write}}}}})
	switch {
	case err != nil:
		return false, fmt.Errorf("committing: %w", err)
	case errors.Is(result.errs[0], store.ErrConflict):
		return true, nil
	default:
		return false, result.errs[0]
	}
}
