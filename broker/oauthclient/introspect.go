package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// IntrospectRefreshToken is not implemented yet.
func (svc *Service) IntrospectRefreshToken(ctx context.Context, clientID, token string) (info broker.RefreshTokenInfo, active bool, err error) {
	return broker.RefreshTokenInfo{}, false, notImplemented()
}
