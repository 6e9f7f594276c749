package oauthclient

import (
	"context"
	"slices"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
)

// Origins knows from which web origins pages call the endpoints for clients. It is safe for concurrent use.
type Origins struct{ svc *Service }

// Origins returns the origins of the clients of svc.
func (svc *Service) Origins() Origins { return Origins{svc} }

// Allows reports whether origin, as browsers write it, is one of the client's. Those of a client that describes itself are the origins of
// its redirect URIs.
//
// If clientID is empty, Allows reports whether origin may be one of any client: a preflight names no client, and neither does a refusal,
// which has nothing of any user. Where clients describe themselves, that is each https origin and each http origin on loopback. This opens
// nothing: these endpoints use no cookies, so a page can send them only what it knows itself, and it can read an answer with tokens or claims
// only if they are those of a client with its origin.
func (o Origins) Allows(ctx context.Context, origin, clientID string) bool {
	svc := o.svc
	switch selfDescribed := svc.cfg.Documents != nil || len(svc.cfg.RegistrationPolicy.Scopes) > 0; {
	case !selfDescribed:
		return svc.index.Allows(ctx, origin, clientID)
	case clientID == "":
		return directory.IsWebOrigin(origin)
	case directory.IsDocumentID(clientID) || directory.IsRegisteredID(clientID):
		client, err := svc.client(ctx, clientID)
		return err == nil && client.Class() != broker.ClassKnown && slices.Contains(client.Origins, origin)
	}
	return svc.index.Allows(ctx, origin, clientID)
}

// Imitates reports whether people may confuse name, which a client claims for itself, with the name or the id of a client that the
// configuration or an operator named, as [ClientIndex.Imitates] does.
func (svc *Service) Imitates(ctx context.Context, name string) (bool, error) {
	return svc.index.Imitates(ctx, name)
}
