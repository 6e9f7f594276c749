package api

import (
	"context"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/revocation"
)

// Operators are the use cases behind /admin/v1. The broker implements all of them; ref is a
// uid or a local user name. Errors are [*broker.Error] where the caller may know the reason.
type Operators interface {
	UserRecords
	UserStates
	OperatorSessions
	Revoker
	BulkRevoker
	KeyRevoker
}

// UserRecords are what is known of users.
type UserRecords interface {
	AddUser(ctx context.Context, user operator.NewUser, req broker.Request) (operator.UserInfo, error)
	User(ctx context.Context, ref string) (operator.UserInfo, error)
	ListUsers(ctx context.Context, q operator.UserQuery) (operator.UserPage, error)
	UpdateUser(ctx context.Context, ref string, change operator.UserChange, req broker.Request) (operator.UserInfo, error)
}

// UserStates are whether and how users may sign in.
type UserStates interface {
	// SetPassword ends the user's sessions, too, unless keepSessions.
	SetPassword(ctx context.Context, ref, password string, keepSessions bool, req broker.Request) (operator.Revoked, error)
	// DisableUser and RemoveUser end the user's sessions and tokens everywhere.
	DisableUser(ctx context.Context, ref string, req broker.Request) (operator.Revoked, error)
	EnableUser(ctx context.Context, ref string, req broker.Request) (operator.UserInfo, error)
	RemoveUser(ctx context.Context, ref string, req broker.Request) (operator.Revoked, error)
}

// OperatorSessions are the sessions of all users.
type OperatorSessions interface {
	ListSessions(ctx context.Context, q operator.SessionQuery) (operator.SessionPage, error)
	// RevokeSession ends one session and its tokens.
	RevokeSession(ctx context.Context, sid string, reason string, req broker.Request) (operator.Revoked, error)
}

// Revoker ends what was issued: all that a user has, one access token, all of a client with
// its sessions, and everything.
type Revoker interface {
	RevokeUser(ctx context.Context, ref string, reason string, req broker.Request) (operator.Revoked, error)
	RevokeToken(ctx context.Context, jti string, reason string, req broker.Request) (operator.Revoked, error)
	RevokeClient(ctx context.Context, id string, reason string, req broker.Request) (operator.Revoked, error)
	RevokeEverybody(ctx context.Context, reason string, req broker.Request) (operator.Revoked, error)
}

// BulkRevoker revokes many values at once, and tells what revokes one.
type BulkRevoker interface {
	RevokeBulk(ctx context.Context, bulk operator.BulkRevocation, req broker.Request) (operator.BulkRevoked, error)
	CheckRevocation(ctx context.Context, kind revocation.Kind, value string) (operator.RevocationCheck, error)
}

// KeyRevoker marks a signing key compromised: its tokens are dead everywhere, no session ends.
type KeyRevoker interface {
	RevokeKey(ctx context.Context, kid string, reason string, req broker.Request) (operator.KeyRevoked, error)
}
