package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// UserInfo is not implemented yet.
func (svc *Service) UserInfo(ctx context.Context, accessToken string, req broker.Request) (*broker.UserInfo, error) {
	return nil, notImplemented()
}
