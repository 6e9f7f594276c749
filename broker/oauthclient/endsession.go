package oauthclient

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/internal/plainjson"
)

const (
	maxHint        = broker.MaxSilentQuery // bytes of an id token
	maxLogoutState = broker.MaxAuthorizationQuery
)

// hint is what an id_token_hint says. It proves nothing about who sent it.
type hint struct {
	Subject, SID string
	Audience     []string
}

// openHint reads an id_token_hint. ok is false if it is not an id token of this broker.
func (svc *Service) openHint(ctx context.Context, token string) (h hint, ok bool) {
	if token == "" || len(token) > maxHint {
		return hint{}, false
	}
	claims, ok := svc.cfg.IDTokens.VerifyIDToken(ctx, token)
	if !ok {
		return hint{}, false
	}
	members, err := plainjson.ReadObject(string(claims), nil)
	if err != nil {
		return hint{}, false
	}
	for _, m := range members {
		switch m.Name {
		case "sub":
			h.Subject, err = plainjson.String(m.Value)
		case "sid":
			h.SID, err = plainjson.String(m.Value)
		case "aud":
			h.Audience, err = plainjson.OneOrMore(m.Value)
		}
		if err != nil {
			return hint{}, false
		}
	}
	return h, h.Subject != "" && len(h.Audience) > 0
}

// EndSession decides about a log-out that a client started (OpenID Connect RP-Initiated Logout 1.0). It ends nothing: if the
// result has LogOff, the caller logs the session off. An id_token_hint of the browser's own session, and the form of
// the confirmation page, are the only ways without a question. Errors: CodeInvalidRedirect for a post_logout_redirect_uri that is
// not the client's or that names no client, CodeInvalidRequest, CodeUnavailable.
func (svc *Service) EndSession(ctx context.Context, in broker.EndSessionRequest, req broker.Request) (*broker.EndSession, error) {
	if err := svc.cfg.Secrets.Outdated(); err != nil {
		return nil, commit.AppError(ctx, "checking the keys", err)
	}
	hinted, valid := svc.openHint(ctx, in.IDTokenHint)
	out, err := svc.afterLogout(ctx, in, hinted, valid, req)
	if err != nil {
		return nil, err
	}
	st, refused, err := svc.browserSession(ctx, in.RefreshToken)
	switch {
	case err != nil:
		return nil, err
	case refused != "" && refused != session.RefuseSuperseded: // a log-off takes a token of any generation
		return out, nil
	}
	csrf, confirmed := credential.MatchCSRF(svc.cfg.Secrets, st.Session.SID, in.CSRFToken)
	out.CSRFToken, out.UserName = csrf, st.User.Username
	out.LogOff = confirmed || valid && hinted.SID == st.Session.SID && hinted.Subject == st.Session.UID
	out.Ask = !out.LogOff
	if out.Ask && in.CSRFToken != "" {
		svc.audit.Info(ctx, "csrf_mismatch", req, "uid", st.Session.UID, "sid", st.Session.SID)
	}
	return out, nil
}

// afterLogout returns the client of a log-out request and where the browser goes afterwards.
func (svc *Service) afterLogout(ctx context.Context, in broker.EndSessionRequest, hinted hint, valid bool, req broker.Request) (*broker.EndSession, error) {
	id := in.ClientID
	refuse := func(code broker.Code, reason string) (*broker.EndSession, error) {
		return nil, svc.refuseOnPage(ctx, "log_out_refused", id, oauthError(code, reason), req)
	}
	if valid {
		switch {
		case id == "" && len(hinted.Audience) == 1:
			id = hinted.Audience[0]
		case id != "" && !slices.Contains(hinted.Audience, id):
			return refuse(broker.CodeInvalidRequest, "id_token_hint was issued to another client than client_id.")
		}
	}
	if len(in.State) > maxLogoutState || !printable(in.State) {
		return refuse(broker.CodeInvalidRequest, "The state is too long or contains characters that do not print.")
	}
	out := &broker.EndSession{}
	if in.PostLogoutURI == "" && directory.IsDocumentID(id) { // a log-out does not depend on the document
		return out, nil
	}
	client, err := svc.client(ctx, id)
	var cause *refused
	switch {
	case errors.Is(err, broker.ErrClientDocument) && errors.As(err, &cause):
		return nil, svc.refuseOnPage(ctx, "log_out_refused", id, unusableDocument(cause), req)
	case err != nil:
		return nil, commit.AppError(ctx, "reading the client", err)
	case client.ID != "":
		out.ClientName, out.Class = svc.displayName(ctx, client), client.Class()
	}
	if in.PostLogoutURI == "" {
		return out, nil
	}
	switch {
	case client.ID == "":
		return refuse(broker.CodeInvalidRedirect, "The client is unknown.")
	case !slices.Contains(client.PostLogoutURIs, in.PostLogoutURI):
		return refuse(broker.CodeInvalidRedirect, "post_logout_redirect_uri is not registered for the client.")
	}
	out.RedirectURL = in.PostLogoutURI
	if in.State != "" {
		join := "?"
		if strings.Contains(out.RedirectURL, "?") {
			join = "&"
		}
		out.RedirectURL += join + url.Values{"state": {in.State}}.Encode()
	}
	return out, nil
}
