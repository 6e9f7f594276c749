package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// Consent is not implemented yet.
func (svc *Service) Consent(ctx context.Context, in broker.AuthorizationRequest, decision broker.ConsentDecision, req broker.Request) (*broker.Authorization, error) {
	return nil, notImplemented()
}
