// Package member runs a member of an etcd cluster in this process, for tests and for development. A cluster
// in production consists of etcd's own servers.
package member

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Config configures a [Member].
type Config struct {
	Name string
	// Dir is the directory of the member's data. A member that is started again with it continues.
	Dir string
	// ClientURL and PeerURL are the URLs at which the member listens, on loopback.
	ClientURL, PeerURL string
	// ListenPeerURL is the URL at which the member listens for its peers if they reach it at PeerURL through a proxy. If
	// empty, it is PeerURL.
	ListenPeerURL string
	// Peers are the peer URLs of all members by their names, this one's as well.
	Peers map[string]string
	// Quota is the limit of the database in bytes. If zero, it is etcd's default.
	Quota int64
	// TLS are the files of the client listener. If nil, ClientURL must be http.
	TLS *TLS
}

// TLS are PEM files: the certificate of the member and its key, and the authorities of the certificates that clients
// have to present.
type TLS struct{ Cert, Key, ClientCA string }

// Member is a running member. Close stops it.
type Member struct{ etcd *embed.Etcd }

// Start starts a member and waits until it can serve or ctx ends: for the first start of a cluster, until a
// majority of the members runs.
func Start(ctx context.Context, config Config) (*Member, error) {
	c := embed.NewConfig()
	c.Name, c.Dir = config.Name, config.Dir
	client, err := url.Parse(config.ClientURL)
	if err != nil {
		return nil, fmt.Errorf("starting the etcd member %s: %w", config.Name, err)
	}
	peer, err := url.Parse(config.PeerURL)
	if err != nil {
		return nil, fmt.Errorf("starting the etcd member %s: %w", config.Name, err)
	}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	listen, err := url.Parse(cmp.Or(config.ListenPeerURL, config.PeerURL))
	if err != nil {
		return nil, fmt.Errorf("starting the etcd member %s: %w", config.Name, err)
	}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*listen}, []url.URL{*peer}
	if config.TLS != nil {
		c.ClientTLSInfo = transport.TLSInfo{
			CertFile: config.TLS.Cert, KeyFile: config.TLS.Key, TrustedCAFile: config.TLS.ClientCA, ClientCertAuth: true,
		}
	}
	c.EnableGRPCGateway = false
	var peers []string
	for name, address := range config.Peers {
		peers = append(peers, name+"="+address)
	}
	c.InitialCluster = strings.Join(peers, ",")
	// For members on one machine: a leader that died is replaced within a second.
	c.TickMs, c.ElectionMs = 50, 500
	c.QuotaBackendBytes = config.Quota
	c.AutoCompactionMode, c.AutoCompactionRetention = "periodic", "5m"
	c.BcryptCost = 4 // the lowest: the passwords are those of tests, and a hash has to be ready within one try
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("starting the etcd member %s: %w", config.Name, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return &Member{e}, nil
	case err := <-e.Err():
		e.Close()
		return nil, fmt.Errorf("starting the etcd member %s: %w", config.Name, err)
	case <-ctx.Done():
		e.Close()
		return nil, fmt.Errorf("starting the etcd member %s: %w", config.Name, errors.Join(ctx.Err(), errors.New("no majority of the members runs")))
	}
}

// Close stops the member. Its data stay. A leader first hands over to another member, for which it waits some seconds.
func (m *Member) Close() { m.etcd.Close() }

// Kill stops the member at once. Its data stay.
func (m *Member) Kill() {
	m.etcd.Server.HardStop()
	m.etcd.Close()
}

// Failed returns a channel that receives the error with which the member ends by itself.
func (m *Member) Failed() <-chan error { return m.etcd.Err() }
