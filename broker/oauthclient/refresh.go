package oauthclient

import (
	"context"
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/replays"
	"tokenbroker/broker/session"
)

// refresh rotates a grant's refresh token (RFC 6749 §6, docs/design.md §6). A request that would get no token for another reason, such
// as a scope beyond the grant's, rotates nothing. Reuse ends the grant. Only for a client that the configuration or an operator named, its
// audit line is a warning: clients that describe themselves include many that present old refresh tokens days later by mistake.
func (svc *Service) refresh(ctx context.Context, client directory.ClientRecord, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	if in.RefreshToken == "" {
		return nil, badRequest("The parameter refresh_token is missing.")
	}
	token, err := credential.ParseRefreshToken(in.RefreshToken, svc.cfg.Secrets)
	if err != nil {
		return nil, badRefresh(&refused{"not a refresh token of this broker"})
	}
	rotate := session.Rotate{
		Generation: token.Generation, SecretHash: token.SecretHash(), Channel: session.ChannelOAuth, ClientID: client.ID, Source: token.Source(req),
	}
	if err := svc.precheck(ctx, client, token, rotate, in); err != nil {
		return nil, err
	}
	uid, sid := token.UID.String(), token.SID.String()
	result, err := svc.path.Ask(ctx, commit.Message{UID: uid, SID: sid, ClientID: client.ID, Message: rotate})
	if err != nil {
		return nil, err
	}
	eff := result.Effects
	if eff.Refusal != "" {
		level := svc.audit.Info
		if eff.PutSession != nil && client.Class() == broker.ClassKnown { // the refusal has ended the grant
			level = svc.audit.Warn
		}
		level(ctx, "refresh_refused", req, replays.Seen(token, req, "grant_type", in.GrantType, "client_id", client.ID, "refusal", string(broker.CodeInvalidGrant), "reason", string(eff.Refusal))...)
		return nil, badRefresh(errReported)
	}
	scopes, audience, err := svc.refreshed(client, eff.Session, in)
	if err != nil {
		return nil, err
	}
	if err := svc.replays.Answered(ctx, svc.audit, eff, token, req); err != nil {
		// A client must not send this token again: RFC 6749 §5.2 has no other code for that, and a later request would be reuse.
		return nil, badRefresh(errReported)
	}
	answer, _, err := svc.grantAnswer(ctx, client, eff, token, scopes, audience, "")
	if err != nil {
		return nil, err
	}
	svc.touch(ctx, client)
	return answer, nil
}

// precheck refuses what would be refused after the rotation, which would cost the client its refresh token. A token that the
// rotation itself refuses passes.
func (svc *Service) precheck(ctx context.Context, client directory.ClientRecord, token credential.RefreshToken, rotate session.Rotate, in broker.TokenRequest) error {
	if in.Scope == "" && len(in.Resources) == 0 && svc.cfg.CustomClaims == nil {
		return nil
	}
	st, err := svc.path.View(token.UID.String()).State(ctx, token.SID.String(), client.ID)
	if err != nil {
		return err
	}
	if session.Inspect(svc.cfg.Clock.Now(), svc.cfg.Policy, st, rotate) != "" {
		return nil
	}
	if _, _, err := svc.refreshed(client, st.Session, in); err != nil {
		return err
	}
	_, err = svc.issuer.CustomClaims(ctx, st.Session, st.User)
	return err
}

// refreshed returns the scopes and the aud of the access token of a refresh. Those that the client has lost since the grant are left
// out.
func (svc *Service) refreshed(client directory.ClientRecord, s *session.Session, in broker.TokenRequest) (scopes, audience []string, err error) {
	granted := strings.Fields(s.Scope)
	if scopes, err = parseScope(in.Scope); err != nil {
		return nil, nil, err
	}
	for _, scope := range scopes {
		if !slices.Contains(granted, scope) {
			return nil, nil, refusal(broker.CodeInvalidScope, "The scope is beyond that of the grant.", "scope beyond the grant")
		}
	}
	if len(scopes) == 0 {
		scopes = granted
	}
	if scopes = intersect(scopes, client.Scopes); len(scopes) == 0 {
		return nil, nil, errNoScope()
	}
	if audience, err = svc.narrow(svc.kept(client, s.Audience), in.Resources, nil); err != nil {
		return nil, nil, err
	}
	if len(in.Resources) == 0 && onlyOpenID(scopes) && !onlyOpenID(granted) {
		audience = []string{svc.cfg.Issuer}
	}
	if len(audience) == 0 {
		return nil, nil, badRefresh(&refused{"the client has lost the grant's audiences"})
	}
	return scopes, audience, nil
}

// kept returns the members of a grant's audience that the client may still have, with the resources as they are configured.
func (svc *Service) kept(client directory.ClientRecord, audience []string) []string {
	names := svc.audiences(client)
	var kept []string
	for _, one := range audience {
		if one == svc.cfg.Issuer || slices.Contains(names, one) {
			kept = append(kept, one)
		} else if name := svc.audienceOf(names, one); name != "" {
			kept = append(kept, svc.cfg.Resources[name])
		}
	}
	return kept
}

func badRefresh(cause error) error {
	return &broker.Error{
		Code: broker.CodeInvalidGrant, Message: "The refresh token is invalid, expired, used, revoked or of another client.", Err: cause,
	}
}
