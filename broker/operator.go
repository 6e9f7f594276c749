package broker

import (
	"time"

	"tokenbroker/revocation"
)

// The types of the operators' use cases. Their JSON is that of /admin/v1 and of the
// commands' --output json; times are RFC 3339.

// NewUser is a local user as an operator makes it.
type NewUser struct {
	Username   string         `json:"username"`
	Password   string         `json:"password"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Roles      []string       `json:"roles,omitempty"`
	// InsecureSkipPasswordRules accepts any password that can be hashed. It MUST NOT be set but
	// for the well-known users of a development server, and in tests.
	InsecureSkipPasswordRules bool `json:"-"`
}

// Account is an account at an issuer; LocalIssuer's are the broker's own.
type Account struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// UserInfo is what operators see of a user: no password, no hash.
type UserInfo struct {
	UID      string `json:"uid"`
	Username string `json:"username"`
	// Accounts are the only ways in that are linked to this user.
	Accounts    []Account      `json:"accounts"`
	HasPassword bool           `json:"has_password"`
	Disabled    bool           `json:"disabled"`
	Attributes  map[string]any `json:"attributes,omitempty"`
	// Roles are set by operators, Groups come from the provider at each login.
	Roles     []string  `json:"roles,omitempty"`
	Groups    []string  `json:"groups,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	LastLogin time.Time `json:"last_login,omitzero"`
	// Epoch: sessions and tokens made under a lower one are dead.
	Epoch int64 `json:"epoch,omitempty"`
}

// UserChange is what an operator changes of a user; nil leaves it.
type UserChange struct {
	Attributes map[string]any `json:"attributes,omitempty"`
	Roles      []string       `json:"roles,omitempty"`
}

// UserQuery selects users in the order of their uids. Match, when not empty, is looked for in user name and
// e-mail address without regard to case.
type UserQuery struct {
	Match, After string
	Limit        int // 1 … 1000; default 100
}

// UserPage is one page; Next is the After of the next one, or "".
type UserPage struct {
	Users []UserInfo `json:"users"`
	Next  string     `json:"next,omitempty"`
	// Unreadable is how many damaged records were passed over; the log names them.
	Unreadable int `json:"unreadable,omitempty"`
}

// SessionQuery selects sessions, of one user (uid or local user name) or of all.
type SessionQuery struct {
	User, After string
	Limit       int // 1 … 1000; default 100
	// Ended shows those that are over, too.
	Ended bool
}

// SessionSummary is what operators see of a session.
type SessionSummary struct {
	SID          string    `json:"sid"`
	UID          string    `json:"uid"`
	Username     string    `json:"username,omitempty"` // empty: the user was removed
	ClientID     string    `json:"client_id"`
	Scope        string    `json:"scope,omitempty"`
	Provider     string    `json:"provider,omitempty"`
	Device       string    `json:"device,omitempty"`
	Channel      string    `json:"channel"`
	CreatedAt    time.Time `json:"created_at"`
	LastUsed     time.Time `json:"last_used"`
	AuthTime     time.Time `json:"auth_time"`
	ExpiresAt    time.Time `json:"expires_at"`
	TokenExpires time.Time `json:"token_expires"`
	// State is "live", or the code that a refresh would be refused with: session_expired,
	// session_ended, session_revoked, user_disabled, refresh_token_reused, generation_ahead.
	State string `json:"state"`
}

// SessionPage is one page; Next is the After of the next one, or "".
type SessionPage struct {
	Sessions []SessionSummary `json:"sessions"`
	Next     string           `json:"next,omitempty"`
	// Unreadable is how many damaged records were passed over; the log names them.
	Unreadable int `json:"unreadable,omitempty"`
}

// Revoked is the answer to whatever ends tokens: durable when there is no error.
type Revoked struct {
	Kind  string `json:"kind"` // of the event: sub, sid, jti, client or all
	Value string `json:"value"`
	Epoch int64  `json:"epoch,omitempty"`
	// Changed is false when it had been done before: nothing was written.
	Changed bool `json:"changed"`
	// Broadcast is false when the record is durable and its message is still to be sent.
	Broadcast bool `json:"broadcast"`
	// ReceiptSummary is nil when Request.Wait was zero.
	*ReceiptSummary
}

// BulkRevocation is many values of one kind to be revoked: jti, sid or sub (uids or local
// user names).
type BulkRevocation struct {
	Kind   revocation.Kind
	Values []string // 1 … [MaxBulkRevocation]
	Reason string
}

// BulkRevoked is the answer to a [BulkRevocation]: durable when there is no error.
type BulkRevoked struct {
	Kind string `json:"kind"`
	// Recorded is how many of the values are revoked now, Changed how many of them were not
	// before, and Unknown how many name no session or user. A value that is repeated counts once.
	Recorded int `json:"recorded"`
	Changed  int `json:"changed"`
	Unknown  int `json:"unknown"`
	// UnknownValues are those, in the order of the request.
	UnknownValues []string `json:"unknown_values,omitempty"`
	// Broadcast is false when the records are durable and a message is still to be sent.
	Broadcast bool `json:"broadcast"`
	// ReceiptSummary is of all of them together; nil when Request.Wait was zero.
	*ReceiptSummary
}

// RevocationCheck says what revokes a value.
type RevocationCheck struct {
	Kind  string `json:"kind,omitempty"` // as asked
	Value string `json:"value"`
	// Revoked: there is an event, or the session was ended. An event of kind sub, client or
	// all hits the tokens and sessions that were made under an epoch below its own.
	Revoked bool `json:"revoked"`
	// Events are all that hit the value; of a session also those of its user, its client
	// and everybody. One without an expires_at is for ever.
	Events []revocation.Recorded `json:"events"`
	// Session is the one that a sid names, if it is on record.
	Session *SessionSummary `json:"session,omitempty"`
}
