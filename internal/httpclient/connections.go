package httpclient

import (
	"net/http"
	"sync/atomic"
)

// Connections is an [http.RoundTripper] whose connections can be replaced. A request after [Connections.Renew]
// is sent over a new connection, so that a load balancer can choose another server. It is safe for
// concurrent use.
type Connections struct {
	base http.RoundTripper
	own  atomic.Pointer[http.Transport] // a copy of base, nil before the first Renew
}

var _ http.RoundTripper = (*Connections)(nil)

// Renewable returns a client as [WithoutRedirects] does, and its transport, whose connections can be replaced. Before the
// first [Connections.Renew], requests use the transport of c and its connections.
func Renewable(c *http.Client) (*http.Client, *Connections) {
	copied := WithoutRedirects(c)
	connections := &Connections{base: copied.Transport}
	if connections.base == nil {
		connections.base = http.DefaultTransport
	}
	copied.Transport = connections
	return copied, connections
}

// RoundTrip implements [http.RoundTripper].
func (c *Connections) RoundTrip(r *http.Request) (*http.Response, error) {
	if own := c.own.Load(); own != nil {
		return own.RoundTrip(r)
	}
	return c.base.RoundTrip(r)
}

// Renew makes later requests use new connections. Closing the idle connections would not be sufficient: over HTTP/2 a
// stream that is open keeps the connection in use. Therefore requests use a copy of the [http.Transport] from then on.
// Those that are running end on the old connections. Another transport is only asked to close its idle connections.
func (c *Connections) Renew() {
	base, ok := c.base.(*http.Transport)
	if !ok {
		closeIdle(c.base)
		return
	}
	if old := c.own.Swap(base.Clone()); old != nil {
		old.CloseIdleConnections()
	}
}

// CloseIdleConnections closes the idle connections that were made after a Renew. Those of the caller's transport stay.
func (c *Connections) CloseIdleConnections() {
	if own := c.own.Load(); own != nil {
		own.CloseIdleConnections()
	}
}

func closeIdle(t http.RoundTripper) {
	if c, ok := t.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
