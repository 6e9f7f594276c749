package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/revocation"
)

// natsStartTimeout is how long the embedded server may take until it accepts connections.
const natsStartTimeout = 10 * time.Second

// maxNATSConnections is how many connections the server of [StartNATS] accepts.
const maxNATSConnections = 1000

// natsLogin is a user and a password at the embedded server. The broker's own are random for each process, so they
// differ from those of every configured user.
type natsLogin struct{ user, password string }

// startNATS starts the embedded NATS server, without JetStream and without signal handlers. It returns the broker's
// own login, which is empty if the server needs none.
func startNATS(cfg NATS, connections int, setting string, logger *slog.Logger) (ns *server.Server, own natsLogin, err error) {
	opts, err := natsOptions(cfg, connections, setting)
	if err != nil {
		return nil, natsLogin{}, err
	}
	if !cfg.InsecureAnonymous {
		own = natsLogin{user: "tokenbroker-" + rand.Text(), password: rand.Text()}
		opts.Users = natsUsers(cfg, own)
	}
	if ns, err = server.NewServer(opts); err != nil {
		return nil, natsLogin{}, fmt.Errorf("making the embedded NATS server: %w", err)
	}
	log := &natsLog{logger: logger}
	ns.SetLogger(log, false, false)
	ns.Start()
	if !ns.ReadyForConnections(natsStartTimeout) {
		ns.Shutdown()
		if reason := log.fatal.Load(); reason != nil {
			return nil, natsLogin{}, fmt.Errorf("starting the embedded NATS server: %s", *reason)
		}
		return nil, natsLogin{}, errors.New("starting the embedded NATS server: it was not ready in time")
	}
	return ns, own, nil
}

// StartNATS starts an embedded server for brokers that are other processes. It returns the server's URL and the function that
// stops it. setting is the name of the flag for the address.
func StartNATS(cfg NATS, setting string, logger *slog.Logger) (url string, stop func(), err error) {
	ns, _, err := startNATS(cfg, maxNATSConnections, setting, logger)
	if err != nil {
		return "", nil, err
	}
	return ns.ClientURL(), func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	}, nil
}

// natsUsers returns the users of the broker and the services, each with the rights that it needs. A service with its
// own user sends receipts only as itself. Services that share ServiceUser can send receipts for one another, but not
// for a service that has its own user.
func natsUsers(cfg NATS, own natsLogin) []*server.User {
	users := []*server.User{{Username: own.user, Password: own.password}}
	var taken []string
	for id, password := range cfg.Services {
		subject := revocation.ReceiptSubject + id
		taken = append(taken, subject)
		users = append(users, natsUser(id, password, &server.SubjectPermission{Allow: []string{subject}}))
	}
	if cfg.ServiceUser != "" {
		users = append(users, natsUser(cfg.ServiceUser, cfg.ServicePassword,
			&server.SubjectPermission{Allow: []string{revocation.ReceiptSubject + "*"}, Deny: taken}))
	}
	return users
}

func natsUser(name, password string, publish *server.SubjectPermission) *server.User {
	return &server.User{Username: name, Password: password, Permissions: &server.Permissions{
		Subscribe: &server.SubjectPermission{Allow: []string{revocation.BatchSubject + ">", revocation.HeartbeatSubject + ">"}},
		Publish:   publish,
	}}
}

// NATSPasswordFile is the file of the password of the user natsServices in the data directory.
const (
	NATSPasswordFile = "nats-services"
	natsServices     = "services"
)

// natsPassword adds a user for services at the embedded server if none is configured.
func (n *Node) natsPassword() error {
	nats := &n.cfg.NATS
	if nats.InsecureAnonymous || nats.ServiceUser != "" || len(nats.Services) > 0 {
		return nil
	}
	file := filepath.Join(n.cfg.DataDir, NATSPasswordFile)
	password, err := ownSecret(file, "the services' password at NATS")
	if err != nil {
		return err
	}
	nats.ServiceUser, nats.ServicePassword = natsServices, password
	n.cfg.Logger.Info("services sign in to the embedded NATS server", "user", natsServices, "password_file", file)
	return nil
}

func natsOptions(cfg NATS, connections int, setting string) (*server.Options, error) {
	addr := cfg.Listen
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("the embedded NATS server's address %q: %w", addr, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("the embedded NATS server's port %q: %w", portText, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	} else {
		// The server reports a busy port only by a timeout, so check it first.
		probe, err := httpserver.Listen("the embedded NATS server", addr, setting)
		if err != nil {
			return nil, err
		}
		if err := probe.Close(); err != nil {
			return nil, fmt.Errorf("probing the NATS port: %w", err)
		}
	}
	return &server.Options{
		ServerName: "tokenbroker", Host: host, Port: port, NoSigs: true, NoLog: true, MaxPayload: 1 << 20, MaxConn: connections,
		TLS: cfg.ServerTLS != nil, TLSConfig: cfg.ServerTLS,
	}, nil
}

// natsLog logs the warnings and errors of the server, and keeps the reason of a failed start.
type natsLog struct {
	logger *slog.Logger
	fatal  atomic.Pointer[string]
}

func (l *natsLog) Fatalf(format string, v ...any) {
	reason := fmt.Sprintf(format, v...)
	l.fatal.Store(&reason)
	l.logger.Error("nats server", "message", reason)
}

func (l *natsLog) Errorf(format string, v ...any) {
	l.logger.Error("nats server", "message", fmt.Sprintf(format, v...))
}

func (l *natsLog) Warnf(format string, v ...any) {
	l.logger.Warn("nats server", "message", fmt.Sprintf(format, v...))
}

func (l *natsLog) Noticef(string, ...any) {}
func (l *natsLog) Debugf(string, ...any)  {}
func (l *natsLog) Tracef(string, ...any)  {}
