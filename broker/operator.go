package broker

import "time"

// NewUser is a local user as an operator makes it.
type NewUser struct {
	Username, Password string
	Attributes         map[string]any
	Roles              []string
}

// Account is an account at an issuer; LocalIssuer's are the broker's own.
type Account struct{ Issuer, Subject string }

// UserInfo is what operators see of a user: no password, no hash.
type UserInfo struct {
	UID, Username string
	// Accounts are the only ways in that are linked to this user.
	Accounts    []Account
	HasPassword bool
	Disabled    bool
	Attributes  map[string]any
	// Roles are set by operators, Groups come from the provider at each login.
	Roles, Groups        []string
	CreatedAt, LastLogin time.Time
	// Epoch: sessions and tokens made under a lower one are dead.
	Epoch int64
}

// UserChange is what an operator changes of a user; nil leaves it.
type UserChange struct {
	Attributes map[string]any
	Roles      []string
}

// UserQuery selects users in the order of their uids. Match, when not empty, is looked for in user name and
// e-mail address without regard to case.
type UserQuery struct {
	Match, After string
	Limit        int // 1 … 1000; default 100
}

// UserPage is one page; Next is the After of the next one, or "".
type UserPage struct {
	Users []UserInfo
	Next  string
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
	SID, UID, ClientID, Scope, Provider, Device, Channel   string
	CreatedAt, LastUsed, AuthTime, ExpiresAt, TokenExpires time.Time
	// State is "live", or the code that a refresh would be refused with: session_expired,
	// session_ended, session_revoked, user_disabled, refresh_token_reused, generation_ahead.
	State string
}

// SessionPage is one page; Next is the After of the next one, or "".
type SessionPage struct {
	Sessions []SessionSummary
	Next     string
}

// Revoked is the answer to whatever ends tokens: durable when there is no error.
type Revoked struct {
	Kind, Value string
	Epoch       int64
	// Changed is false when it had been done before: nothing was written.
	Changed bool
	// Broadcast is false when the record is durable and its message is still to be sent.
	Broadcast bool
}
