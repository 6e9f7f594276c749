// Package issuing computes the claims of the tokens that the broker issues, and signs them. The number of concurrent
// signatures is bounded.
package issuing

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
)

// Issuer signs tokens. It is safe for concurrent use.
type Issuer struct {
	signer  broker.Signer
	custom  credential.CustomClaims
	signing *semaphore.Weighted
}

// New returns an Issuer that makes at most signers concurrent signatures. If signers is zero, it is 4. custom may be nil.
func New(signer broker.Signer, custom credential.CustomClaims, signers int64) *Issuer {
	if signers <= 0 {
		signers = 4
	}
	return &Issuer{signer: signer, custom: custom, signing: semaphore.NewWeighted(signers)}
}

// AccessToken signs an access token with the claims, and with custom in addition. Its error is an [*broker.Error].
func (i *Issuer) AccessToken(ctx context.Context, claims credential.AccessToken, custom map[string]any) (string, error) {
	encoded, err := claims.Encode(custom)
	if err != nil {
		return "", claimsFailed("encoding claims", err)
	}
	return i.sign(ctx, func() (string, error) { return i.signer.SignAccessToken(ctx, encoded) })
}

// IDToken signs an id token that belongs to the access token, with more claims in addition. Its error is an [*broker.Error].
func (i *Issuer) IDToken(ctx context.Context, claims credential.IDToken, accessToken string, more map[string]any) (string, error) {
	return i.sign(ctx, func() (string, error) {
		return i.signer.SignIDToken(ctx, func(algorithm string) ([]byte, error) {
			return claims.Encode(accessToken, algorithm, more)
		})
	})
}

func (i *Issuer) sign(ctx context.Context, sign func() (string, error)) (string, error) {
	if err := i.signing.Acquire(ctx, 1); err != nil {
		return "", commit.AppError(ctx, "waiting to sign", err)
	}
	defer i.signing.Release(1)
	token, err := sign()
	if err != nil {
		return "", commit.AppError(ctx, "signing", err)
	}
	return token, nil
}

// CustomClaims computes the configured claims of an access token of the session. They are computed for each token. After
// CodeClaimsFailed, a committed step stays committed and its refresh token is valid, so that a refresh succeeds once the cause
// is removed.
func (i *Issuer) CustomClaims(ctx context.Context, s *session.Session, user *session.User) (map[string]any, error) {
	if i.custom == nil {
		return nil, nil
	}
	claims, err := i.custom.Claims(ctx, credential.ClaimsInput{
		User:     ClaimsUser(user),
		Identity: credential.ClaimsIdentity{Provider: s.Provider, Issuer: s.UpstreamIssuer, Subject: s.UpstreamSubject},
		Client:   credential.ClaimsClient{ID: s.ClientID},
		Session: credential.ClaimsSession{
			ID: s.SID, Scope: s.Scope, ACR: s.ACR, Device: s.Device, AMR: s.AMR,
			AuthTime: unixTime(s.AuthTime), CreatedAt: unixTime(s.CreatedAt),
		},
	})
	switch {
	case err == nil:
		return claims, nil
	case ctx.Err() != nil:
		return nil, commit.AppError(ctx, "computing claims", err)
	default:
		return nil, claimsFailed("computing claims", err)
	}
}

func claimsFailed(doing string, err error) *broker.Error {
	return &broker.Error{
		Code: broker.CodeClaimsFailed, Message: "The custom claims of the access token cannot be computed; the broker's log has the cause under this request id.",
		Err: fmt.Errorf("%s: %w", doing, err),
	}
}

// ClaimsUser returns the user as custom claims see it. A nil user is the zero one.
func ClaimsUser(u *session.User) credential.ClaimsUser {
	if u == nil {
		return credential.ClaimsUser{}
	}
	return credential.ClaimsUser{
		ID: u.UID, Username: u.Username, Local: directory.HasLocalName(u), Attributes: u.Attributes, Roles: u.Roles, Groups: u.Groups,
		CreatedAt: unixTime(u.CreatedAt), LastLogin: unixTime(u.LastLogin),
	}
}

// unixTime converts a record's time. 0 is the zero time.
func unixTime(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}
