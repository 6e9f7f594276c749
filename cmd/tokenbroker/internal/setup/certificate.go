package setup

import (
	"crypto/tls"
	"sync/atomic"

	"tokenbroker/config"
)

// Certificate is a certificate that can be replaced while connections are made. Safe for
// concurrent use.
type Certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// loadCertificate reads a certificate that is valid now and for host ("": for any); it returns
// nil where no files are named.
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

// Take replaces the certificate by that of a configuration that was read again. If either is nil, nothing changes:
// that needs a restart.
func (c *Certificate) Take(next *Certificate) {
	if c != nil && next != nil {
		c.current.Store(next.current.Load())
	}
}

// Get is a [tls.Config]'s GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}
