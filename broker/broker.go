// Package broker is the vocabulary of tokenbroker's core: requests, answers, error codes, and the
// ports that the core needs from its surroundings. It contains no use case and starts no goroutine.
//
// The use cases are in enduser (sign-in, refresh, log-off, session), oauthclient (authorization, tokens), registration
// (clients that register themselves) and operator (users, revocations, clients). Each checks what it can without the store, such as the MAC of a refresh
// token and the CSRF token, and sends a message through commit, which decides with package session
// and writes decision and revocation events in one durable transaction. When the answer comes back
// it is on disk; signing and hashing happen in the caller's goroutine.
package broker

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"time"
)

// Request describes the caller of a use case.
type Request struct {
	// Addr is the client's address without the port, after trusted proxies.
	Addr string
	// UserAgent is the header as sent, truncated to 256 bytes.
	UserAgent string
	// ID is the request id for the audit lines.
	ID string
	// RefreshToken is the token in the cookie of a sign-in request, or empty. Its session, of
	// any user, is ended once the new session is on disk.
	RefreshToken string
	// Hints are for the provider of a sign-in that starts at one.
	Hints LoginHints
	// LogoutReturn is the URL to which the provider's log-out page sends the browser after this log-off. If empty, the
	// configured one is used.
	LogoutReturn string
	// Operator identifies the operator ("uid 0", "token"), and Note is the operator's note. Both are
	// only for the audit lines.
	Operator, Note string
	// Wait is the longest time for which a use case that revokes tokens waits for the services' receipts, from its
	// start. If zero, it does not wait.
	Wait time.Duration
}

// Grant is the answer to a sign-in or a refresh. A Grant that is returned with an error has no access
// token, but its refresh token is valid and has to replace the presented one.
type Grant struct {
	AccessToken string
	// ExpiresAt is the access token's exp, and ExpiresIn the time until then by the broker's clock.
	ExpiresAt time.Time
	ExpiresIn time.Duration
	// RefreshToken is only for the cookie.
	RefreshToken string
	// RefreshMaxAge is the time until the session ends: the cookie's Max-Age.
	RefreshMaxAge time.Duration
	CSRFToken     string
	User          map[string]any
	UID, SID      string
	// Replayed is true if a superseded refresh token was presented within the grace period. Nothing was
	// rotated, and RefreshToken is the current one.
	Replayed bool
}

// SessionInfo is the answer to GET /auth/session/.
type SessionInfo struct {
	UID, SID  string
	CSRFToken string
	// ExpiresAt is the session's idle or absolute end, whichever comes first, as of the time when the
	// presented refresh token was issued.
	ExpiresAt time.Time
	CreatedAt time.Time
	AuthTime  time.Time
	ClientID  string
	Scope     string
	User      map[string]any
}

// LogOffResult is the result of a log-off, which is durable if there is no error.
type LogOffResult struct {
	// Ended is false if there was no session to end: no cookie, or an invalid one.
	Ended bool
	// Broadcast is false if the record is durable but its message was not sent yet (202).
	Broadcast bool
	SID       string
	// LogoutURL is the log-out page of the provider through which the user signed in, or "". Provider is the provider's name.
	LogoutURL, Provider string
	// Receipts is nil if Request.Wait was zero or no session was ended.
	Receipts *ReceiptSummary
}

// ClientInfo is an authenticated confidential client.
type ClientInfo struct {
	ID     string
	Scopes []string
	// Audiences are the audiences of the client's tokens. They are never empty.
	Audiences []string
	// Public is true for a client without a secret, which only identified itself.
	Public bool
	// Origins are the web origins from which the client's pages call the token and userinfo endpoints.
	Origins []string
}

// Client is a configured client.
type Client struct {
	ID string
	// Secret is the secret of a confidential client, 256 random bits; SecretHash is the alternative, its
	// SHA-256. Both are empty for a public client.
	Secret     string
	SecretHash []byte
	// PreviousSecret and PreviousHash are another secret that is accepted, during a rotation.
	PreviousSecret string
	PreviousHash   []byte
	Name           string
	Scopes         []string
	// DefaultScopes are granted to a request that names no scope. If Audiences is empty, the audiences are those of the broker.
	DefaultScopes, Audiences []string
	// Grants are grant types such as [GrantAuthorizationCode].
	Grants                                []string
	RedirectURIs, PostLogoutURIs, Origins []string
	FirstParty                            bool
	// AccessLife, Idle and Absolute are the client's lifetimes; zero is the broker's. Grace is that of a superseded refresh token;
	// nil is the broker's.
	AccessLife, Idle, Absolute time.Duration
	Grace                      *time.Duration
	// JWKS or JWKSURI are the keys of the client's assertions (private_key_jwt), Workloads the identities of other issuers
	// that are the client.
	JWKS      json.RawMessage
	JWKSURI   string
	Workloads []Workload
}

// ReceiptSummary counts the known services that have applied a revocation.
type ReceiptSummary struct {
	Applied int `json:"applied"`
	Of      int `json:"of"`
	// SlowestMS is the time, in milliseconds, from the request to the last receipt of a service that has
	// applied it.
	SlowestMS int64 `json:"slowest_ms"`
	// Laggards are the names of the other services. Of very many, only the first are listed.
	Laggards []string `json:"laggards,omitempty"`
}

// IDBytes is the length of a uid and a sid.
const IDBytes = 16

// Base32 is the encoding of ids and of hashes in keys: lower case, without padding.
var Base32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ID is a uid or a sid in its binary form. String returns the form in claims and keys.
type ID [IDBytes]byte

// NewID returns a random ID.
func NewID() ID {
	var b ID
	_, _ = rand.Read(b[:]) // never fails (crypto/rand ends the process instead)
	return b
}

// String returns the text form.
func (b ID) String() string { return Base32.EncodeToString(b[:]) }

// ParseID parses the text form of a uid or sid.
func ParseID(text string) (ID, bool) {
	var b ID
	raw, err := Base32.DecodeString(text)
	if err != nil || len(raw) != IDBytes || Base32.EncodeToString(raw) != text {
		return b, false
	}
	copy(b[:], raw)
	return b, true
}

// LocalIssuer is the issuer of local accounts, whose subjects are user names of the broker itself.
const LocalIssuer = "urn:tokenbroker:local"
