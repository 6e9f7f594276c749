package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// Revoke is not implemented yet.
func (svc *Service) Revoke(ctx context.Context, c broker.ClientCredentials, token, hint string, req broker.Request) (clientID string, err error) {
	return "", notImplemented()
}
