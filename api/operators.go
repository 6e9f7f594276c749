package api

import (
	"context"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// Operators are the use cases behind /admin/v1. The broker implements it; ref is a uid or
// a local user name. Errors are [*broker.Error] where the caller may know the reason.
type Operators interface {
	AddUser(ctx context.Context, user broker.NewUser, req broker.Request) (broker.UserInfo, error)
	User(ctx context.Context, ref string) (broker.UserInfo, error)
	ListUsers(ctx context.Context, q broker.UserQuery) (broker.UserPage, error)
	UpdateUser(ctx context.Context, ref string, change broker.UserChange, req broker.Request) (broker.UserInfo, error)
	// SetPassword ends the user's sessions, too, unless keepSessions.
	SetPassword(ctx context.Context, ref, password string, keepSessions bool, req broker.Request) (broker.Revoked, error)
	// DisableUser and RemoveUser end the user's sessions and tokens everywhere.
	DisableUser(ctx context.Context, ref string, req broker.Request) (broker.Revoked, error)
	EnableUser(ctx context.Context, ref string, req broker.Request) (broker.UserInfo, error)
	RemoveUser(ctx context.Context, ref string, req broker.Request) (broker.Revoked, error)
	ListSessions(ctx context.Context, q broker.SessionQuery) (broker.SessionPage, error)
	// RevokeSession ends one session and its tokens, RevokeUser all that the user has.
	RevokeSession(ctx context.Context, sid string, reason string, req broker.Request) (broker.Revoked, error)
	RevokeUser(ctx context.Context, ref string, reason string, req broker.Request) (broker.Revoked, error)
	// RevokeToken revokes one access token, RevokeClient all that was issued to a client, its
	// sessions too, and RevokeEverybody everything.
	RevokeToken(ctx context.Context, jti string, reason string, req broker.Request) (broker.Revoked, error)
	RevokeClient(ctx context.Context, id string, reason string, req broker.Request) (broker.Revoked, error)
	RevokeEverybody(ctx context.Context, reason string, req broker.Request) (broker.Revoked, error)
	RevokeBulk(ctx context.Context, bulk broker.BulkRevocation, req broker.Request) (broker.BulkRevoked, error)
	CheckRevocation(ctx context.Context, kind revocation.Kind, value string) (broker.RevocationCheck, error)
}
