package setup

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/config"
)

// Certificate is a certificate that can be replaced while connections are made. Safe for
// concurrent use.
type Certificate struct {
	current atomic.Pointer[tls.Certificate]
}

// loadCertificate returns nil where no files are named.
func loadCertificate(files config.TLS) (*Certificate, error) {
	if files.CertFile == "" {
		return nil, nil
	}
	c := new(Certificate)
	if err := c.Load(files); err != nil {
		return nil, err
	}
	return c, nil
}

// Load reads the files; with an error the certificate in force stays.
func (c *Certificate) Load(files config.TLS) error {
	pair, err := tls.LoadX509KeyPair(files.CertFile, files.KeyFile)
	if err != nil {
		return fmt.Errorf("loading the certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// Get is a [tls.Config]'s GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// natsOf loads the files that the NATS settings name.
func natsOf(cfg config.NATS) (node.NATS, error) {
	nats := node.NATS{
		URL: cfg.URL, User: cfg.User, Password: cfg.Password.Reveal(), Credentials: cfg.CredentialsFile,
		Listen: cfg.Listen, ServiceUser: cfg.ServiceUser, ServicePassword: cfg.ServicePassword.Reveal(),
	}
	if cfg.URL != "" {
		nats.Listen = ""
	}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return node.NATS{}, fmt.Errorf("reading ca_file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return node.NATS{}, errors.New("ca_file holds no certificate")
		}
		nats.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	if cfg.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.TLSCertFile, cfg.TLSKeyFile)
		if err != nil {
			return node.NATS{}, fmt.Errorf("loading the NATS server's certificate: %w", err)
		}
		nats.ServerTLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	}
	return nats, nil
}
