// Package directory implements the records of users, their accounts and names, and of clients: their keys
// and codecs, their lookup, and the rules for names and profiles. It reads from a store and
// returns writes; it never commits them.
package directory

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// RecordVersion is the version of records other than users and sessions.
const RecordVersion = 1

// ReadRecord reads the record of a key into a value and checks its version. If there is none, the revision
// is zero and the value is unchanged.
func ReadRecord(ctx context.Context, r store.Reader, what, key string, into any, version *int) (store.Revision, error) {
	rec, err := r.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", what, err)
	}
	return rec.Revision, DecodeRecord(what, rec.Value, into, version)
}

// DecodeRecord decodes a stored record and checks its version. The error for an unreadable record is
// [session.ErrRecord]; it is never treated as an empty record.
func DecodeRecord(what string, data []byte, into any, version *int) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("reading %s: %w: %w", what, session.ErrRecord, err)
	}
	if *version != RecordVersion {
		return fmt.Errorf("reading %s: %w: version %d", what, session.ErrRecord, *version)
	}
	return nil
}

// UserKey returns the key of a user's record (docs/design.md §5).
func UserKey(uid string) string { return "user." + uid }

// ClientKey returns the key of a client's record.
func ClientKey(id string) string { return "client." + id }

// identityKey returns the key of an account's link. Only issuer and subject identify an account.
func identityKey(issuer, subject string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + subject))
	return "identity." + broker.Base32.EncodeToString(sum[:])
}

// ClientRecord is the record client.<id>.
type ClientRecord struct {
	V          int    `json:"v"`
	ID         string `json:"id"`
	Name       string `json:"name,omitempty"`
	SecretHash []byte `json:"secret_hash,omitempty"`
	// PreviousHash is the hash of the secret before the latest rotation, which is accepted until PreviousUntil (Unix s). If
	// that is zero, it is accepted without end.
	PreviousHash  []byte   `json:"previous_hash,omitempty"`
	PreviousUntil int64    `json:"previous_until,omitempty"`
	Scopes        []string `json:"scopes,omitempty"`
	// DefaultScopes are granted to a request that names no scope. Audiences are those of the client's tokens; if there are
	// none, they are those of the broker.
	DefaultScopes []string `json:"default_scopes,omitempty"`
	Audiences     []string `json:"audiences,omitempty"`
	// Grants are the grant types that the client may use, such as [broker.GrantAuthorizationCode].
	Grants         []string `json:"grants,omitempty"`
	RedirectURIs   []string `json:"redirect_uris,omitempty"`
	PostLogoutURIs []string `json:"post_logout_uris,omitempty"`
	Origins        []string `json:"origins,omitempty"`
	// FirstParty clients need no consent.
	FirstParty bool `json:"first_party,omitempty"`
	// Lifetimes are those of the client's tokens and sessions. Zero values are the broker's.
	Lifetimes ClientLifetimes `json:"lifetimes,omitzero"`
	// JWKS or JWKSURI are the keys of the assertions by which the client authenticates (private_key_jwt). Workloads are the
	// identities of other issuers that are the client.
	JWKS      json.RawMessage   `json:"jwks,omitempty"`
	JWKSURI   string            `json:"jwks_uri,omitempty"`
	Workloads []broker.Workload `json:"workloads,omitempty"`
	// Dynamic is true for a client that the configuration does not name: operators or the client itself registered it while the broker
	// ran, or it has a metadata document.
	Dynamic bool `json:"dynamic,omitempty"`
	// Document is true for a client whose id is the URL of its metadata document. The record has only its epoch.
	Document bool `json:"document,omitempty"`
	// Registration is nil unless the client registered itself.
	Registration *Registration `json:"registration,omitempty"`

	CreatedAt int64 `json:"created_at,omitempty"`
	// Epoch ends all sessions and tokens of the client with a lower cep.
	Epoch int64 `json:"epoch,omitempty"`
	// Removed is true if the client is no longer configured. The record stays for its epoch.
	Removed bool `json:"removed,omitempty"`
}

// Registration is what the broker keeps of a client that registered itself (RFC 7591).
type Registration struct {
	// TokenHash is the SHA-256 of the registration access token.
	TokenHash []byte `json:"token_hash,omitempty"`
	// AuthMethod is the token_endpoint_auth_method, and ApplicationType the application_type, which may be empty.
	AuthMethod      string `json:"auth_method,omitempty"`
	ApplicationType string `json:"application_type,omitempty"`
	// ExpiresAt (Unix s) is when the client is removed unless it is used before. Each use moves it, at most once a day.
	ExpiresAt int64 `json:"expires_at"`
}

// ClientLifetimes are lifetimes in seconds. One that is zero is the broker's.
type ClientLifetimes struct {
	Access   int64 `json:"access_s,omitempty"`
	Idle     int64 `json:"idle_s,omitempty"`
	Absolute int64 `json:"absolute_s,omitempty"`
	// Grace is that of a superseded refresh token; nil is the broker's.
	Grace *int64 `json:"grace_s,omitempty"`
}

// Class returns how the broker knows the client.
func (c ClientRecord) Class() broker.ClientClass {
	switch {
	case c.Document:
		return broker.ClassDocument
	case c.Registration != nil:
		return broker.ClassRegistered
	}
	return broker.ClassKnown
}

// Expired reports whether the client registered itself and was not used since. Its record may remain for a while, because a store may
// round its expiry up.
func (c ClientRecord) Expired(now time.Time) bool {
	return c.Registration != nil && now.Unix() >= c.Registration.ExpiresAt
}

// Tombstone returns the record of the client after its removal, which has the epoch that ends its sessions. That of a client that
// registered itself expires after idle, the longest time for which a session can live without a refresh: the id never comes back.
func (c ClientRecord) Tombstone(epoch int64, now time.Time, idle time.Duration) ClientRecord {
	removed := ClientRecord{V: RecordVersion, ID: c.ID, Removed: true, Epoch: epoch}
	if c.Registration != nil {
		removed.Registration = &Registration{ExpiresAt: now.Add(idle).Unix()}
	}
	return removed
}

// Public reports whether the client has no way to authenticate.
func (c ClientRecord) Public() bool {
	return len(c.SecretHash) == 0 && len(c.JWKS) == 0 && c.JWKSURI == "" && len(c.Workloads) == 0
}

// ReadClient returns the client's record, or the zero record if there is none.
func ReadClient(ctx context.Context, r store.Reader, id string) (client ClientRecord, rev store.Revision, err error) {
	rev, err = ReadRecord(ctx, r, "client", ClientKey(id), &client, &client.V)
	return client, rev, err
}

// Write returns the write of the record, whose revision is rev.
func (c ClientRecord) Write(rev store.Revision) (store.Write, error) {
	value, err := json.Marshal(c)
	if err != nil {
		return store.Write{}, fmt.Errorf("encoding the client: %w", err)
	}
	write := store.Write{Key: ClientKey(c.ID), Value: value, Expect: rev}
	if c.Registration != nil {
		write.ExpiresAt = c.Registration.ExpiresAt
	}
	return write, nil
}

// Accounts returns the accounts that are linked to the user. A record of an earlier version
// has none; if it has a password, the user has a local account.
func Accounts(u *session.User) []session.Account {
	if len(u.Accounts) == 0 && u.PasswordHash != "" {
		return []session.Account{{Issuer: broker.LocalIssuer, Subject: u.Username}}
	}
	return u.Accounts
}

// HasLocalName reports whether one of the user's accounts is a local one with the user's current
// name. A login through a linked provider replaces the user's name by the provider's.
func HasLocalName(u *session.User) bool {
	return slices.Contains(Accounts(u), session.Account{Issuer: broker.LocalIssuer, Subject: u.Username})
}
