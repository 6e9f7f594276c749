package apitest

import (
	"context"
	"encoding/json"

	"tokenbroker/api"
	"tokenbroker/broker"
)

// Registrations are the use cases of client registration of a [Fake].
type Registrations struct{ *Fake }

// WithRegistrations turns client registration on.
func WithRegistrations(f *Fake) func(*api.Config) {
	return func(c *api.Config) { c.OAuth.Registrations = Registrations{f} }
}

// Register implements oauth.Registrations.
func (c Registrations) Register(_ context.Context, metadata json.RawMessage, initialToken string, req broker.Request) (broker.ClientRegistration, error) {
	c.Calls, c.Metadata, c.Token, c.Req = append(c.Calls, "register"), metadata, initialToken, req
	return c.Registration, c.Err
}

// Client implements oauth.Registrations.
func (c Registrations) Client(_ context.Context, id, token string, req broker.Request) (broker.ClientRegistration, error) {
	c.Calls, c.Token, c.Req = append(c.Calls, "read "+id), token, req
	return c.Registration, c.Err
}

// Remove implements oauth.Registrations.
func (c Registrations) Remove(_ context.Context, id, token string, req broker.Request) error {
	c.Calls, c.Token, c.Req = append(c.Calls, "remove "+id), token, req
	return c.Err
}
