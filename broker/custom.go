package broker

import (
	"context"
	"fmt"
	"time"

	"tokenbroker/broker/session"
)

// customClaims computes the configured claims of the token that a committed step fixed,
// anew for each token. Error: CodeClaimsFailed; the step stays committed and its refresh
// token is given, so that a refresh succeeds once the cause is gone.
func (b *Broker) customClaims(ctx context.Context, eff session.Effects) (map[string]any, error) {
	if b.cfg.CustomClaims == nil {
		return nil, nil
	}
	s := eff.Session
	in := ClaimsInput{
		User:     claimsUser(eff.User),
		Identity: ClaimsIdentity{Provider: s.Provider, Issuer: s.UpstreamIssuer, Subject: s.UpstreamSubject},
		Client:   ClaimsClient{ID: s.ClientID},
		Session: ClaimsSession{
			ID: s.SID, Scope: s.Scope, ACR: s.ACR, Device: s.Device, AMR: s.AMR,
			AuthTime: unixTime(s.AuthTime), CreatedAt: unixTime(s.CreatedAt),
		},
	}
	claims, err := b.cfg.CustomClaims.Claims(ctx, in)
	switch {
	case err == nil:
		return claims, nil
	case ctx.Err() != nil:
		return nil, b.internal(ctx, "computing claims", err)
	default:
		return nil, claimsFailed("computing claims", err)
	}
}

func claimsFailed(doing string, err error) *Error {
	return &Error{
		Code: CodeClaimsFailed, Message: "The token's claims cannot be computed; the operator has to look at the log.",
		Err: fmt.Errorf("%s: %w", doing, err),
	}
}

// userObject is what answers show of a user.
func (b *Broker) userObject(u *session.User) map[string]any {
	if u == nil {
		return nil
	}
	if b.cfg.CustomClaims != nil {
		return b.cfg.CustomClaims.UserObject(claimsUser(u))
	}
	object := map[string]any{"id": u.UID, "username": u.Username}
	if len(u.Roles) > 0 {
		object["roles"] = u.Roles
	}
	if len(u.Groups) > 0 {
		object["groups"] = u.Groups
	}
	return object
}

func claimsUser(u *session.User) ClaimsUser {
	if u == nil {
		return ClaimsUser{}
	}
	return ClaimsUser{
		ID: u.UID, Username: u.Username, Local: hasLocalName(u), Attributes: u.Attributes, Roles: u.Roles, Groups: u.Groups,
		CreatedAt: unixTime(u.CreatedAt), LastLogin: unixTime(u.LastLogin),
	}
}

// unixTime is a record's time; 0 is the zero time.
func unixTime(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
