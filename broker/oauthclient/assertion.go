package oauthclient

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/internal/plainjson"
)

// The limits of assertions.
const (
	// maxAssertion is the length of the longest assertion, and maxAssertionID that of the longest jti, in bytes.
	maxAssertion   = 16 << 10
	maxAssertionID = 256
	// maxAssertionLife is how far the exp of a client's own assertion may be in the future. clockLeeway is how far the clock of the
	// signer may be ahead.
	maxAssertionLife = 10 * time.Minute
	clockLeeway      = time.Minute
	// markMargin is how much longer the mark of a used assertion is kept than the assertion is valid: for brokers with other clocks.
	markMargin = time.Hour
)

// byAssertion returns the client that an assertion authenticates: one that the client signed itself (private_key_jwt, RFC 7523 §3
// and OpenID Connect Core 1.0 §9), or a token of another issuer that is one of the client's workloads.
func (svc *Service) byAssertion(ctx context.Context, c broker.ClientCredentials) (directory.ClientRecord, error) {
	none := directory.ClientRecord{}
	switch {
	case c.Assertion == "" || c.AssertionType == "":
		return none, refuseRequest("client_assertion and client_assertion_type have to be sent together.")
	case c.AssertionType != broker.AssertionType:
		return none, refuse("unknown client_assertion_type")
	case len(c.Assertion) > maxAssertion:
		return none, refuse("the assertion is too long")
	case svc.cfg.Assertions == nil:
		return none, refuse("assertions are not accepted")
	}
	claimed, err := unverified(c.Assertion)
	if err != nil {
		return none, refuse("the assertion is not a JWT")
	}
	client, err := svc.client(ctx, claimedID(c))
	if err != nil {
		return none, err
	}
	switch workload := workloadOf(client, claimed); {
	case client.ID == "":
		return none, refuse("unknown client")
	case claimed.Issuer == client.ID && (len(client.JWKS) > 0 || client.JWKSURI != ""):
		err = svc.checkOwn(ctx, client, c.Assertion)
	case workload != nil && c.ID != "":
		err = svc.checkWorkload(ctx, workload, c.Assertion)
	default:
		err = refuse("the client accepts no assertion of this issuer, subject and audience")
	}
	if err != nil {
		return none, err
	}
	return client, nil
}

// checkOwn checks an assertion that the client signed, and marks it as used.
func (svc *Service) checkOwn(ctx context.Context, client directory.ClientRecord, assertion string) error {
	a, err := svc.verify(ctx, assertion, broker.AssertionKeys{
		JWKS: client.JWKS, JWKSURI: client.JWKSURI, Untrusted: client.Class() != broker.ClassKnown,
	})
	if err != nil {
		return err
	}
	switch typ := strings.TrimPrefix(strings.ToLower(a.Type), "application/"); {
	case typ != "" && typ != "jwt" && typ != "client-authentication+jwt":
		return refuse("another typ")
	case a.Issuer != client.ID || a.Subject != client.ID:
		return refuse("iss and sub are not the client's id")
	case !slices.Equal(a.Audience, []string{svc.cfg.Issuer}):
		return refuse("aud is not the issuer")
	case a.ID == "" || len(a.ID) > maxAssertionID:
		return refuse("jti is missing or too long")
	case a.ExpiresAt.After(svc.cfg.Clock.Now().Add(maxAssertionLife + clockLeeway)):
		return refuse("exp is too far in the future")
	}
	if err := svc.checkTimes(a); err != nil {
		return err
	}
	used, err := svc.path.UseOnce(ctx, commit.NewMark("client_assertion", client.ID+"\x00"+a.ID, a.ExpiresAt.Add(markMargin)))
	if err != nil {
		return err
	}
	if used {
		return refuse("the assertion was used before")
	}
	return nil
}

// checkWorkload checks a token of a workload's issuer. It may be presented again until it expires, because a workload gets one
// token for all that it does (docs/decisions/0048-workloads-present-their-own-tokens.md).
func (svc *Service) checkWorkload(ctx context.Context, workload *broker.Workload, assertion string) error {
	a, err := svc.verify(ctx, assertion, broker.AssertionKeys{Issuer: workload.Issuer, JWKSURI: workload.JWKSURI})
	if err != nil {
		return err
	}
	if !identifies(*workload, a) {
		return refuse("iss, sub or aud is another")
	}
	return svc.checkTimes(a)
}

// verify checks the signature.
func (svc *Service) verify(ctx context.Context, assertion string, keys broker.AssertionKeys) (broker.Assertion, error) {
	a, err := svc.cfg.Assertions.Verify(ctx, assertion, keys)
	switch {
	case errors.Is(err, broker.ErrAssertion):
		return a, &broker.Error{Code: broker.CodeInvalidClient, Message: wrongCredentials, Err: errors.Join(&refused{"the signature or a claim is invalid"}, err)}
	case errors.Is(err, broker.ErrUpstreamUnavailable):
		if keys.Untrusted {
			err = errors.Join(broker.ErrClientKeys, err)
		}
		return a, &broker.Error{
			Code: broker.CodeUpstreamUnavailable, Message: "The keys of the assertion cannot be read at the moment; try again.", RetryAfter: 5 * time.Second, Err: err,
		}
	}
	return a, err
}

func (svc *Service) checkTimes(a broker.Assertion) error {
	now := svc.cfg.Clock.Now()
	switch {
	case a.ExpiresAt.IsZero() || !now.Before(a.ExpiresAt):
		return refuse("exp is missing or in the past")
	case a.IssuedAt.After(now.Add(clockLeeway)) || a.NotBefore.After(now.Add(clockLeeway)):
		return refuse("iat or nbf is in the future")
	}
	return nil
}

// workloadOf returns the workload of the client that an assertion claims to be, or nil.
func workloadOf(client directory.ClientRecord, claimed broker.Assertion) *broker.Workload {
	if i := slices.IndexFunc(client.Workloads, func(w broker.Workload) bool { return identifies(w, claimed) }); i >= 0 {
		return &client.Workloads[i]
	}
	return nil
}

func identifies(w broker.Workload, a broker.Assertion) bool {
	return w.Issuer != "" && w.Subject != "" && w.Audience != "" &&
		a.Issuer == w.Issuer && a.Subject == w.Subject && slices.Equal(a.Audience, []string{w.Audience})
}

// claimedID returns the id that the credentials claim: client_id, or else the subject of the assertion (RFC 7521 §4.2).
func claimedID(c broker.ClientCredentials) string {
	if c.ID != "" || len(c.Assertion) > maxAssertion {
		return c.ID
	}
	claimed, err := unverified(c.Assertion)
	if err != nil {
		return ""
	}
	return claimed.Subject
}

// unverified returns what an assertion claims to be. It only decides which keys have to verify it.
func unverified(assertion string) (a broker.Assertion, err error) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return a, errors.New("not a compact JWS")
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return a, err
	}
	claims, err := plainjson.ReadUnambiguous(string(payload))
	if err != nil {
		return a, err
	}
	for _, m := range claims {
		switch m.Name {
		case "iss":
			a.Issuer, err = plainjson.String(m.Value)
		case "sub":
			a.Subject, err = plainjson.String(m.Value)
		case "aud":
			a.Audience, err = plainjson.OneOrMore(m.Value)
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}
