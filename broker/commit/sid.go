package commit

import (
	"context"

	"tokenbroker/broker/directory"
	"tokenbroker/store"
)

// SessionKey returns the key of a session's record (docs/design.md §5) or, if sid is empty, the prefix of the keys of
// the user's sessions.
func SessionKey(uid, sid string) string { return SessionPrefix + uid + "." + sid }

// SIDKey returns the key of the record with the uid of a session's user.
func SIDKey(sid string) string { return "sid." + sid }

// SessionPrefix is the prefix of the keys of all sessions.
const SessionPrefix = "session."

// sidRecord is the record sid.<sid>: the user of a session.
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
