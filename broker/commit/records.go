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

// SessionKey is the key of a session's record (docs/design.md §5); with an empty sid, the prefix of those of the user.
func SessionKey(uid, sid string) string { return SessionPrefix + uid + "." + sid }

// SIDKey is the key of the record that names a session's user.
func SIDKey(sid string) string { return "sid." + sid }

// SessionPrefix begins the keys of all sessions.
const SessionPrefix = "session."

// sidRecord is the record sid.<sid>: whose session it is.
type sidRecord struct {
	V   int    `json:"v"`
	UID string `json:"uid"`
	SID string `json:"sid"`
}

// SessionOwner returns the uid of the user whose session it is, or "" if no such session is on record.
func SessionOwner(ctx context.Context, r store.Reader, sid string) (uid string, err error) {
	var owner sidRecord
	_, err = directory.ReadRecord(ctx, r, "the sid", SIDKey(sid), &owner, &owner.V)
	return owner.UID, err
}

// Mark is a replay mark of something that may be used once: a record once.<purpose>.<hash> that is
// only ever created, and kept until the thing itself has expired.
type Mark struct {
	key       string
	expiresAt int64 // Unix s
}

type markRecord struct {
	V int `json:"v"`
}

// NewMark returns the mark of a value, which has expired at expires.
func NewMark(purpose, value string, expires time.Time) Mark {
	sum := sha256.Sum256([]byte(value))
	return Mark{key: "once." + purpose + "." + broker.Base32.EncodeToString(sum[:]), expiresAt: expires.Unix()}
}

// Exists reports whether the mark is on record: the value was used.
func (m Mark) Exists(ctx context.Context, r store.Reader) (bool, error) {
	_, err := r.Get(ctx, m.key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading what was used: %w", err)
	}
	return true, nil
}

// Write is the write that makes the mark. It meets a conflict if the mark is on record.
func (m Mark) Write() (store.Write, error) {
	value, err := json.Marshal(markRecord{V: directory.RecordVersion})
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding what was used: %w", err)
	}
	return store.Write{Key: m.key, Value: value, ExpiresAt: m.expiresAt}, nil
}
