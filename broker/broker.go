// Package broker is the vocabulary of tokenbroker's core: requests, answers, error codes, and the
// ports that the core needs from its surroundings. It contains no use case and starts no goroutine.
//
// The use cases are in enduser (sign-in, refresh, log-off, session) and operator (users,
// revocations, clients). Each checks what it can without the store, such as the MAC of a refresh
// token and the CSRF token, and sends a message through commit, which decides with package session
// and writes decision and revocation events in one durable transaction. When the answer comes back
// it is on disk; signing and hashing happen in the caller's goroutine.
package broker

import (
	"crypto/rand"
	"encoding/base32"
	"time"
)

// Request carries what every use case may want to know of its caller.
type Request struct {
	// Addr is the client's address without the port, after trusted proxies.
	Addr string
	// UserAgent as sent, cut to 256 bytes.
	UserAgent string
	// ID is the request id for the audit lines.
	ID string
	// RefreshToken is that of the cookie which came with a sign-in, or empty. Its session, of
	// any user, ends once the new one is on disk.
	RefreshToken string
	// LogoutReturn is where the provider's log-out page sends the browser after this log-off. If empty, it is
	// that of the configuration.
	LogoutReturn string
	// Operator is who asks through the operators' surface ("uid 0", "token"), and Note their
	// words; both for the audit lines alone.
	Operator, Note string
	// Wait is how long, from now, whoever ends tokens wants to wait for the services' receipts;
	// zero: not at all.
	Wait time.Duration
}

// Grant is the answer to a sign-in or a refresh. One that comes with an error has no access
// token; its refresh token is in force all the same and has to replace the one presented.
type Grant struct {
	AccessToken string
	// ExpiresAt is the access token's exp; ExpiresIn what is left of it by the broker's clock.
	ExpiresAt time.Time
	ExpiresIn time.Duration
	// RefreshToken goes into the cookie and nowhere else.
	RefreshToken string
	// RefreshMaxAge is what is left of the session: the cookie's Max-Age.
	RefreshMaxAge time.Duration
	CSRFToken     string
	User          map[string]any
	UID, SID      string
	// Replayed says that a superseded refresh token was presented within the grace: nothing was
	// rotated, and RefreshToken is the one in force.
	Replayed bool
}

// SessionInfo is the answer to GET /auth/session/.
type SessionInfo struct {
	UID, SID  string
	CSRFToken string
	// ExpiresAt is the session's idle or absolute end, whichever comes first, as it was when the
	// presented refresh token was made.
	ExpiresAt time.Time
	CreatedAt time.Time
	AuthTime  time.Time
	ClientID  string
	Scope     string
	User      map[string]any
}

// LogOffResult says how far a log-off got: it is always durable when there is no error.
type LogOffResult struct {
	// Ended is false when there was no session to end (no cookie, or a bad one).
	Ended bool
	// Broadcast is false when the record is durable but its message is still to be sent (202).
	Broadcast bool
	SID       string
	// LogoutURL is the log-out page of the provider that the login came from, or "".
	LogoutURL string
	// Receipts is nil when Request.Wait was zero, or nothing was ended.
	Receipts *ReceiptSummary
}

// ClientInfo is an authenticated confidential client.
type ClientInfo struct {
	ID     string
	Scopes []string
}

// Client is a client as the configuration gives it.
type Client struct {
	ID string
	// Secret of a confidential client: random, 256 bits; or SecretHash, its SHA-256. Both are
	// empty for a public one.
	Secret     string
	SecretHash []byte
	Scopes     []string
}

// ReceiptSummary says how many of the services that are heard of have applied a revocation.
type ReceiptSummary struct {
	Applied int `json:"applied"`
	Of      int `json:"of"`
	// SlowestMS is what passed, in milliseconds, from the request until the last of those that
	// have applied it said so.
	SlowestMS int64 `json:"slowest_ms"`
	// Laggards are the others by name; of very many the first.
	Laggards []string `json:"laggards,omitempty"`
}

// IDBytes is the length of a uid and a sid.
const IDBytes = 16

// Base32 is the encoding of ids and of hashes in keys: lower case, without padding.
var Base32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID is a uid or a sid in its binary form; String is the form that claims and keys carry.
type ID [IDBytes]byte

// NewID returns a random ID.
func NewID() ID {
	var b ID
	_, _ = rand.Read(b[:]) // never fails (crypto/rand ends the process instead)
	return b
}

// String returns the text form.
func (b ID) String() string { return Base32.EncodeToString(b[:]) }

// ParseID reads the text form of a uid or sid.
func ParseID(text string) (ID, bool) {
	var b ID
	raw, err := Base32.DecodeString(text)
	if err != nil || len(raw) != IDBytes || Base32.EncodeToString(raw) != text {
		return b, false
	}
	copy(b[:], raw)
	return b, true
}

// LocalIssuer is the issuer under which user names of the broker itself are linked.
const LocalIssuer = "urn:tokenbroker:local"
