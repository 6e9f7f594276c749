package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tokenbroker/broker/session"
	"tokenbroker/broker/store"
)

// identityRecord is the record identity.<hash>: the one link from an account to a user.
type identityRecord struct {
	V       int    `json:"v"`
	UID     string `json:"uid"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// ErrUserExists is returned by AddUser for a name that is taken.
var ErrUserExists = errors.New("broker: the user name is taken")

// AddUser makes a local user and returns the uid. Two callers with one name make one
// user: the other gets ErrUserExists.
func (b *Broker) AddUser(ctx context.Context, username, password string, attributes map[string]any) (string, error) {
	hash, err := b.cfg.Passwords.Hash(ctx, password)
	if err != nil {
		return "", fmt.Errorf("hashing the password: %w", err)
	}
	uid := newID().String()
	user := session.NewUser(uid, username, hash, attributes, b.cfg.Clock.Now())
	err = b.retryConflicts(ctx, func() (*store.Change, error) {
		if linked, err := b.linkedUser(ctx, LocalIssuer, username); err != nil || linked != "" {
			return nil, errors.Join(err, taken(linked))
		}
		userValue, err := user.Encode()
		if err != nil {
			return nil, fmt.Errorf("encoding the user: %w", err)
		}
		link, err := json.Marshal(identityRecord{V: 1, UID: uid, Issuer: LocalIssuer, Subject: username})
		if err != nil {
			return nil, fmt.Errorf("encoding the identity: %w", err)
		}
		return &store.Change{Writes: []store.Write{
			{Key: userKey(uid), Value: userValue},
			{Key: identityKey(LocalIssuer, username), Value: link},
		}}, nil
	})
	if err != nil {
		return "", fmt.Errorf("adding user: %w", err)
	}
	return uid, nil
}

func taken(uid string) error {
	if uid == "" {
		return nil
	}
	return ErrUserExists
}

// linkedUser returns the uid that the account is linked to, or "".
func (b *Broker) linkedUser(ctx context.Context, issuer, subject string) (string, error) {
	rec, err := b.cfg.Store.Get(ctx, identityKey(issuer, subject))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the identity: %w", err)
	}
	var link identityRecord
	if err := decodeRecord("the identity", rec.Value, &link, &link.V); err != nil {
		return "", err
	}
	return link.UID, nil
}

// user returns the user's record, or nil.
func (b *Broker) user(ctx context.Context, uid string) (*session.User, error) {
	rec, err := b.cfg.Store.Get(ctx, userKey(uid))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the user: %w", err)
	}
	return session.DecodeUser(rec.Value)
}

// userObject is what answers show of a user.
func userObject(u *session.User) map[string]any {
	if u == nil {
		return nil
	}
	object := map[string]any{"id": u.UID, "username": u.Username}
	if len(u.Roles) > 0 {
		object["roles"] = u.Roles
	}
	return object
}
