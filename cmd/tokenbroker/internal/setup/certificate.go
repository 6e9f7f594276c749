package setup

import (
	"crypto/tls"
	"sync/atomic"

	"tokenbroker/config"
)

// Certificate is a certificate that can be replaced while connections are made. It is safe for
// concurrent use.
type Certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// loadCertificate reads a certificate and checks that it is valid now and for host; if host is empty,
// any host is accepted. It returns nil if no files are named.
func loadCertificate(certFile, keyFile, host string) (*Certificate, error) {
	if certFile == "" {
		return nil, nil
	}
	pair, err := config.LoadCertificate(certFile, keyFile, host)
	if err != nil {
		return nil, err
	}
	c := new(Certificate)
	c.current.Store(pair)
	return c, nil
}

// Take replaces the certificate by that of a configuration that was read again. If either is nil, nothing changes,
// because turning TLS on or off needs a restart.
func (c *Certificate) Take(next *Certificate) {
	if c != nil && next != nil {
		c.current.Store(next.current.Load())
	}
}

// Get returns the certificate, for [tls.Config.GetCertificate].
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}
