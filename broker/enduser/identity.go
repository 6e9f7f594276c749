package enduser

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// openForIdentity opens a session for the user that the account is linked to. It creates the user if
// there is none.
func (svc *Service) openForIdentity(ctx context.Context, identity broker.Identity, marks []commit.Mark, prior *credential.PriorSession, req broker.Request) (*broker.Grant, error) {
	uid, open, err := svc.linkIdentity(ctx, identity, marks, req)
	if err != nil {
		return nil, err
	}
	return svc.openSession(ctx, uid, open, marks, prior, req)
}

// linkIdentity returns the user that the account is linked to, and the session to open. It creates the user if there is none.
func (svc *Service) linkIdentity(ctx context.Context, identity broker.Identity, marks []commit.Mark, req broker.Request) (uid string, open session.Open, err error) {
	identity.Username = strings.TrimSpace(identity.Username)
	if err := directory.ValidateIdentity(identity); err != nil {
		svc.audit.Info(ctx, "sign_in_failed", req, "provider", identity.Provider, "issuer", identity.Issuer, "subject", fmt.Sprintf("%.255s", identity.Subject),
			"refusal", string(err.Code), "reason", err.Message)
		return "", open, err
	}
	uid, linked, err := svc.userOf(ctx, identity, marks)
	if err != nil {
		refusal := commit.AppError(ctx, "linking the account", err)
		if refusal.Code == broker.CodeTokenUsed {
			svc.audit.Info(ctx, "sign_in_failed", req, "refusal", string(refusal.Code), "provider", identity.Provider, "issuer", identity.Issuer, "subject", identity.Subject)
		}
		return "", open, refusal
	}
	if linked {
		svc.audit.Info(ctx, "user_linked", req, "uid", uid, "provider", identity.Provider, "issuer", identity.Issuer, "subject", identity.Subject)
	}
	open = session.Open{
		ACR: identity.ACR, AMR: identity.AMR, Provider: identity.Provider, UpstreamSID: identity.UpstreamSID,
		UpstreamIssuer: identity.Issuer, UpstreamSubject: identity.Subject,
		Profile: &session.Profile{Username: identity.Username, Groups: identity.Groups, Attributes: identity.Attributes},
	}
	if !identity.AuthTime.IsZero() {
		open.AuthTime = identity.AuthTime.Unix()
	}
	return uid, open, nil
}

// userOf returns the uid that the account is linked to by issuer and subject. For a new
// account, and for one whose user was removed, it creates a user, and made is true. Of two concurrent first
// logins, one creates the user for both. If one of marks exists, the login is a replay and creates no user
// (CodeTokenUsed): a replay must not bring back a user who was removed.
func (svc *Service) userOf(ctx context.Context, identity broker.Identity, marks []commit.Mark) (uid string, made bool, err error) {
	err = svc.path.Update(ctx, func() (*store.Change, error) {
		linked, err := directory.ReadLink(ctx, svc.cfg.Store, identity.Issuer, identity.Subject)
		if err != nil || linked.User != nil {
			uid, made = linked.UID, false
			return nil, err
		}
		// The link was read first. If another login has made the marks since then, it has also made the link, which is a conflict.
		for _, m := range marks {
			if used, err := m.Exists(ctx, svc.cfg.Store); err != nil {
				return nil, err
			} else if used {
				return nil, &broker.Error{Code: broker.CodeTokenUsed, Message: tokenUsed}
			}
		}
		uid, made = broker.NewID().String(), true
		user := session.NewUser(uid, identity.Username, "", identity.Attributes, svc.cfg.Clock.Now())
		user.Groups = identity.Groups
		return linked.NewUser(user)
	})
	return uid, made, err
}

// upstream returns the application error for an error of a provider.
func (svc *Service) upstream(ctx context.Context, doing string, err error) *broker.Error {
	cause := fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.Is(err, broker.ErrExchangeDisabled):
		return &broker.Error{Code: broker.CodeExchangeDisabled, Message: "The exchange of this provider's tokens is off; an operator turns it on with providers.<name>.exchange.", Err: cause}
	case errors.Is(err, broker.ErrUpstreamExpired):
		return &broker.Error{Code: broker.CodeUpstreamExpired, Message: "The provider's token has expired or is too old; sign in at the provider again.", Err: cause}
	case errors.Is(err, broker.ErrEmailNotVerified):
		return &broker.Error{Code: broker.CodeEmailNotVerified, Message: "The user's e-mail address is not verified; verify it at the provider and sign in again.", Err: cause}
	case errors.Is(err, broker.ErrUpstreamUnproven):
		return unproven(cause)
	case errors.Is(err, broker.ErrUpstreamToken):
		return &broker.Error{Code: broker.CodeUpstreamToken, Message: "The provider's tokens are invalid or were issued to another client; sign in at the provider again.", Err: cause}
	case errors.Is(err, broker.ErrUpstreamCode):
		return &broker.Error{Code: broker.CodeProviderError, Message: "The provider did not accept the authorization code; start the sign-in again.", Err: cause}
	case errors.Is(err, broker.ErrUpstreamUnavailable):
		return &broker.Error{Code: broker.CodeUpstreamUnavailable, Message: "The sign-in provider does not answer; try again.", RetryAfter: 5 * time.Second, Err: cause}
	default:
		return commit.AppError(ctx, doing, err)
	}
}
