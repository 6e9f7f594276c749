package setup

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/config"
	"tokenbroker/internal/private"
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
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("loading the certificate: %w", err)
	}
	if err := config.CheckCertificate(pair.Leaf, host, time.Now()); err != nil {
		return nil, err
	}
	c := new(Certificate)
	c.current.Store(&pair)
	return c, nil
}

// Take replaces the certificate in force by that of a configuration built anew. With a nil
// on either side nothing changes: that needs a restart.
func (c *Certificate) Take(next *Certificate) {
	if c != nil && next != nil {
		c.current.Store(next.current.Load())
	}
}

// Get is a [tls.Config]'s GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// natsOf loads the files that the NATS settings name; the certificate is the embedded
// server's, or nil.
func natsOf(cfg config.NATS) (node.NATS, *Certificate, error) {
	nats := node.NATS{
		URL: cfg.URL, User: cfg.User, Password: cfg.Password.Reveal(), Credentials: cfg.CredentialsFile,
		Listen: cfg.Listen, ServiceUser: cfg.ServiceUser, ServicePassword: cfg.ServicePassword.Reveal(), Services: map[string]string{},
	}
	for id, service := range cfg.Services {
		nats.Services[id] = service.Password.Reveal()
	}
	if cfg.URL != "" {
		nats.Listen = ""
	}
	if cfg.CAFile != "" {
		pem, _, err := private.ReadNamed(cfg.CAFile, 1<<20)
		if err != nil {
			return node.NATS{}, nil, fmt.Errorf("reading ca_file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(pem)) {
			return node.NATS{}, nil, errors.New("ca_file holds no certificate")
		}
		nats.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	certificate, err := loadCertificate(cfg.TLSCertFile, cfg.TLSKeyFile, "")
	if err != nil {
		return node.NATS{}, nil, fmt.Errorf("nats.tls_cert_file: %w", err)
	}
	if certificate != nil {
		nats.ServerTLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.Get}
	}
	return nats, certificate, nil
}
