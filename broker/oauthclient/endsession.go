package oauthclient

import (
	"context"

	"tokenbroker/broker"
)

// EndSession is not implemented yet.
func (svc *Service) EndSession(ctx context.Context, in broker.EndSessionRequest, req broker.Request) (*broker.EndSession, error) {
	return nil, notImplemented()
}
