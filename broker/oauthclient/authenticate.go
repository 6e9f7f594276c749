package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// AuthenticateClient is not implemented yet.
func (svc *Service) AuthenticateClient(ctx context.Context, c broker.ClientCredentials, req broker.Request) (broker.ClientInfo, error) {
	return broker.ClientInfo{}, notImplemented()
}
