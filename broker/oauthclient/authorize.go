package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// Authorize is not implemented yet.
func (svc *Service) Authorize(ctx context.Context, in broker.AuthorizationRequest, req broker.Request) (*broker.Authorization, error) {
	return nil, notImplemented()
}
