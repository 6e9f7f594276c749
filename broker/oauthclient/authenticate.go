package oauthclient

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
)

// AuthenticateClient authenticates the client of a request by its secret or an assertion, for what only services get, such as introspection
// and the feed of revocations: anyone can be a client that describes itself, so these are refused. A public client only names itself; the
// result then has Public set, and callers decide what it may do. It does not need [broker.Secrets]. Each refusal is audited.
// Errors: CodeInvalidClient; CodeInvalidRequest for more than one method; CodeUpstreamUnavailable while the keys of an assertion
// cannot be read.
func (svc *Service) AuthenticateClient(ctx context.Context, c broker.ClientCredentials, req broker.Request) (broker.ClientInfo, error) {
	if directory.IsDocumentID(claimedID(c)) { // without fetching the document
		return broker.ClientInfo{}, svc.authenticationRefused(ctx, c, "", refuse(selfDescribed), req)
	}
	client, err := svc.authenticate(ctx, c, req)
	if err != nil {
		return broker.ClientInfo{}, err
	}
	if client.Class() != broker.ClassKnown {
		return broker.ClientInfo{}, svc.authenticationRefused(ctx, c, "", refuse(selfDescribed), req)
	}
	info := broker.ClientInfo{ID: client.ID, Scopes: client.Scopes, Audiences: client.Audiences, Public: client.Public(), Origins: client.Origins}
	if len(info.Audiences) == 0 {
		info.Audiences = svc.cfg.Audience
	}
	return info, nil
}

const selfDescribed = "a client that describes itself"

// authenticate is AuthenticateClient for a client of any class, with its whole record.
func (svc *Service) authenticate(ctx context.Context, c broker.ClientCredentials, req broker.Request) (directory.ClientRecord, error) {
	client, method, err := svc.identify(ctx, c)
	if err != nil {
		return directory.ClientRecord{}, svc.authenticationRefused(ctx, c, method, err, req)
	}
	return client, nil
}

// authenticationRefused writes the audit line of a refused authentication and returns its application error.
func (svc *Service) authenticationRefused(ctx context.Context, c broker.ClientCredentials, method string, err error, req broker.Request) error {
	refusal := commit.AppError(ctx, "authenticating a client", err)
	attrs := []any{"refusal", string(refusal.Code), "method", method}
	if id := claimedID(c); wellFormedID(id) {
		attrs = append(attrs, "client_id", id)
	}
	var cause *refused
	if errors.As(err, &cause) {
		attrs = append(attrs, "cause", cause.why)
	}
	svc.audit.Info(ctx, "client_authentication_refused", req, attrs...)
	return refusal
}

// The methods of OpenID Connect Core 1.0 §9, for audit lines. How a secret was sent is not known here.
const (
	methodNone      = "none"
	methodSecret    = "client_secret"
	methodAssertion = "client_assertion"
)

// identify returns the client that the credentials authenticate, and the method that they use.
func (svc *Service) identify(ctx context.Context, c broker.ClientCredentials) (client directory.ClientRecord, method string, err error) {
	// A secret that is empty counts as omitted (RFC 6749 §2.3.1).
	secrets := slices.DeleteFunc(slices.Clone(c.Secrets), func(s string) bool { return s == "" })
	if c.Assertion != "" || c.AssertionType != "" {
		if len(secrets) > 0 {
			return client, methodAssertion, refuseRequest("The client authenticates by more than one method; use one.")
		}
		client, err = svc.byAssertion(ctx, c)
		return client, methodAssertion, err
	}
	if client, err = svc.client(ctx, c.ID); err != nil {
		return client, "", err
	}
	if len(secrets) == 0 {
		if client.ID == "" || !client.Public() {
			return client, methodNone, refuse("unknown client, or one that has to authenticate")
		}
		return client, methodNone, nil
	}
	if !svc.secretMatches(client, secrets) {
		return client, methodSecret, refuse("unknown client or wrong secret")
	}
	return client, methodSecret, nil
}

// secretMatches reports whether any of secrets, the readings of what was sent, is the client's current or previous secret. Its
// time does not depend on the client, so that a wrong secret cannot be told from an unknown client, nor the current secret from
// the previous one.
func (svc *Service) secretMatches(client directory.ClientRecord, secrets []string) bool {
	previous := client.PreviousHash
	if client.PreviousUntil != 0 && svc.cfg.Clock.Now().Unix() >= client.PreviousUntil {
		previous = nil
	}
	match := 0
	for _, secret := range secrets {
		presented := sha256.Sum256([]byte(secret))
		for _, hash := range [][]byte{client.SecretHash, previous} {
			var recorded [sha256.Size]byte // zero is no secret's hash
			copy(recorded[:], hash)
			match |= subtle.ConstantTimeCompare(presented[:], recorded[:]) & subtle.ConstantTimeEq(int32(len(hash)), sha256.Size)
		}
	}
	return match == 1
}

// refused is the cause of a refusal, for the audit line. It contains nothing that the request sent.
type refused struct{ why string }

func (r *refused) Error() string { return r.why }

// wrongCredentials is the message of all refusals, so that they do not reveal which clients exist.
const wrongCredentials = "Unknown client, or its credentials are wrong."

func refuse(why string) error {
	return &broker.Error{Code: broker.CodeInvalidClient, Message: wrongCredentials, Err: &refused{why}}
}

func refuseRequest(message string) error {
	return &broker.Error{Code: broker.CodeInvalidRequest, Message: message}
}
