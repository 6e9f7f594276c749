package setup

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"tokenbroker/config"
	"tokenbroker/store/etcdstore"
)

// etcdOf returns the settings of the connections to the cluster, or nil if the engine is not etcd. note is called
// with each key that is wrong and its error.
func etcdOf(cfg config.Store, note func(key string, err error)) *etcdstore.Config {
	if cfg.Engine != config.EngineEtcd {
		return nil
	}
	etcd := &etcdstore.Config{
		Endpoints: cfg.Etcd.Endpoints, Prefix: cfg.Etcd.Prefix, Username: cfg.Etcd.Username, Password: cfg.Etcd.Password.Reveal(),
	}
	if !strings.HasPrefix(etcd.Endpoints[0], "https:") { // package config refuses a mixture
		return etcd
	}
	authorities, err := cfg.Etcd.Authorities()
	note("store.etcd.ca_file", err)
	etcd.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	if cert, key := cfg.Etcd.CertificateFile, cfg.Etcd.KeyFile; cert != "" {
		// The files are read for each connection, so that a renewed certificate needs no restart.
		etcd.TLS.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return config.LoadCertificate(cert, key, "")
		}
	}
	return etcd
}

type etcdEngine struct {
	*etcdstore.Store
	prefix string
}

// Where implements [Engine].
func (e etcdEngine) Where() string { return "the etcd prefix " + e.prefix }

func openEtcd(ctx context.Context, cfg etcdstore.Config, wall func() time.Time, logger *slog.Logger) (Engine, error) {
	cfg.Now, cfg.Logger = wall, logger
	opened, err := etcdstore.Open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("store.etcd.endpoints %s: %w: check that a majority of the members runs and that this machine reaches them, the files and the user below store.etcd, and the user's rights to %q; 'tokenbroker doctor --config FILE' asks each member",
			strings.Join(cfg.Endpoints, ", "), err, cfg.Prefix)
	}
	return etcdEngine{opened, cfg.Prefix}, nil
}
