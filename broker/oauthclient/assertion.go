package oauthclient

import (
	"context"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
)

// byAssertion returns the client that an assertion authenticates.
func (svc *Service) byAssertion(context.Context, broker.ClientCredentials) (directory.ClientRecord, error) {
	return directory.ClientRecord{}, refuse("assertions are not implemented yet")
}
