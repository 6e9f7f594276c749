package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// Token is not implemented yet.
func (svc *Service) Token(ctx context.Context, in broker.TokenRequest, req broker.Request) (*broker.TokenAnswer, error) {
	return nil, notImplemented()
}
