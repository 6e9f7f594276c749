package oauthclient

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// The lengths of a code verifier (RFC 7636 §4.1).
const (
	minVerifier = 43
	maxVerifier = 128
)

// redeemCode opens the grant of an authorization code (RFC 6749 §4.1.3, RFC 7636 §4.5). The client, the redirect URI and the verifier are
// checked before the code counts as used. A code that was used before ends its grant.
func (svc *Service) redeemCode(ctx context.Context, client directory.ClientRecord, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	for _, p := range []struct{ name, value string }{{"code", in.Code}, {"code_verifier", in.Verifier}} {
		if p.value == "" {
			return nil, badRequest("The parameter " + p.name + " is missing.")
		}
	}
	code, expired, err := credential.OpenAuthorizationCode(in.Code, svc.cfg.Secrets, svc.cfg.Clock.Now())
	switch {
	case errors.Is(err, credential.ErrAuthorizationCode):
		return nil, badCode("not a code of this broker")
	case err != nil:
		return nil, err
	case code.ClientID != client.ID:
		return nil, badCode("the code of another client")
	case in.RedirectURI != "" && code.RedirectURI != in.RedirectURI: // OAuth 2.1 clients do not send it: PKCE binds the code
		return nil, badCode("another redirect URI")
	case !verifies(in.Verifier, code.Challenge):
		return nil, badCode("wrong code verifier")
	case expired:
		return nil, svc.expiredCode(ctx, code, req)
	}
	audience, err := svc.narrow(code.Audience, in.Resources, nil)
	if err != nil {
		return nil, err
	}
	scopes := intersect(code.Scopes, client.Scopes)
	if len(scopes) == 0 {
		return nil, errNoScope()
	}
	if !directory.MatchRedirectURI(client.RedirectURIs, code.RedirectURI) { // also those of a document may have changed
		return nil, badCode("the redirect URI is no longer the client's")
	}
	if code.CEP < client.Epoch {
		return nil, badCode("the tokens of the client were revoked")
	}
	eff, token, err := svc.openCode(ctx, client, code, req)
	if err != nil {
		return nil, err
	}
	answer, claims, err := svc.grantAnswer(ctx, client, eff, token, scopes, audience, code.Nonce)
	if err != nil {
		return nil, err
	}
	svc.issued(ctx, broker.GrantAuthorizationCode, claims, req, "browser_sid", code.BrowserSID, "offline", code.Offline)
	svc.touch(ctx, client)
	return answer, nil
}

// openCode opens the grant of a code. The authentication of the user is that of the browser session.
func (svc *Service) openCode(ctx context.Context, client directory.ClientRecord, code credential.AuthorizationCode, req broker.Request) (session.Effects, credential.RefreshToken, error) {
	uid, okUID := broker.ParseID(code.UID)
	sid, okSID := broker.ParseID(code.SID)
	if !okUID || !okSID {
		return session.Effects{}, credential.RefreshToken{}, badCode("a damaged code")
	}
	browser, err := svc.path.View(code.UID).State(ctx, code.BrowserSID, "")
	if err != nil {
		return session.Effects{}, credential.RefreshToken{}, err
	}
	open := session.Open{
		Scope: strings.Join(code.Scopes, " "), Audience: code.Audience, BrowserSID: code.BrowserSID, Offline: code.Offline,
		UserInfoClaims: code.UserInfoClaims, IDTokenClaims: code.IDTokenClaims,
	}
	if s := browser.Session; s != nil { // otherwise the step refuses
		open.ACR, open.AMR, open.AuthTime = s.ACR, s.AMR, s.AuthTime
		open.Provider, open.UpstreamSID, open.UpstreamIssuer, open.UpstreamSubject = s.Provider, s.UpstreamSID, s.UpstreamIssuer, s.UpstreamSubject
	}
	token := credential.NewRefreshToken(uid, sid)
	eff, err := svc.openGrant(ctx, client, token, open, nil, req)
	if eff.Refusal == "" || err != nil {
		return eff, token, err
	}
	if eff.Refusal == session.RefuseExists {
		return eff, token, svc.codeReused(ctx, code, eff, req)
	}
	return eff, token, badCode(string(eff.Refusal))
}

// openGrant asks the step to open a grant of the client under the sid of the refresh token.
func (svc *Service) openGrant(ctx context.Context, client directory.ClientRecord, token credential.RefreshToken, open session.Open, marks []commit.Mark, req broker.Request) (session.Effects, error) {
	uid, sid := token.UID.String(), token.SID.String()
	if wait := svc.openRates.Wait(uid, svc.cfg.Clock.Now()); wait > 0 {
		return session.Effects{}, &broker.Error{Code: broker.CodeTooManySessions, Message: "This user has opened too many sessions; try again later.", RetryAfter: wait}
	}
	open.SID, open.SecretHash, open.Channel, open.ClientID = sid, token.SecretHash(), session.ChannelOAuth, client.ID
	open.ClientEpoch = client.Epoch
	open.Device, open.Source = req.UserAgent, token.Source(req)
	svc.lifetimes(&open, client)
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, ClientID: client.ID, Marks: marks, Message: open})
	if err != nil {
		return session.Effects{}, err
	}
	if result.Effects.Refusal == "" {
		svc.openRates.Opened(uid, svc.cfg.Clock.Now())
		for _, ended := range result.Effects.Ended {
			svc.audit.Info(ctx, "session_displaced", req, "uid", uid, "sid", ended.SID, "by", sid)
		}
	}
	return result.Effects, nil
}

// expiredCode refuses an expired code. If it was used in time, this is a second use, which ends its grant.
func (svc *Service) expiredCode(ctx context.Context, code credential.AuthorizationCode, req broker.Request) error {
	result, err := svc.path.Ask(ctx, commit.Message{UID: code.UID, SID: code.SID, ClientID: code.ClientID, Message: session.Revoke{Reason: revocation.ReasonReuse}})
	if err != nil {
		return err
	}
	if result.Effects.Session == nil {
		return badCode("expired")
	}
	return svc.codeReused(ctx, code, result.Effects, req)
}

// codeReused refuses a code that was used again, with its audit line.
func (svc *Service) codeReused(ctx context.Context, code credential.AuthorizationCode, eff session.Effects, req broker.Request) error {
	refusal := badCode("")
	refusal.Err = errReported
	svc.audit.Warn(ctx, "code_reused", req, "grant_type", broker.GrantAuthorizationCode, "client_id", code.ClientID, "uid", code.UID, "sid", code.SID,
		"refusal", string(refusal.Code), "ended", eff.PutSession != nil)
	return refusal
}

func badCode(why string) *broker.Error {
	return &broker.Error{
		Code: broker.CodeInvalidGrant, Err: &refused{why},
		Message: "The authorization code is invalid, expired, used, or of another client or redirect URI, or the code verifier is wrong.",
	}
}

// verifies reports whether the S256 challenge is that of the verifier (RFC 7636 §4.6).
func verifies(verifier, challenge string) bool {
	if len(verifier) < minVerifier || len(verifier) > maxVerifier || strings.ContainsFunc(verifier, func(r rune) bool { return !unreserved(r) }) {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// unreserved reports whether r is an unreserved character of URIs (RFC 3986 §2.3).
func unreserved(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("-._~"), r)
}
