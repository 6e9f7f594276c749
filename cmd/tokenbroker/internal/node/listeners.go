package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/adminsocket"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/internal/private"
	"tokenbroker/store/badgerstore"
)

// takePorts locks the data directory and opens the listeners before anything else, so that a conflict is one clear
// error and leaves nothing behind.
func (n *Node) takePorts(context.Context) error {
	if err := private.MakeDir(n.cfg.DataDir, "data directory", n.cfg.Setting("data_dir")); err != nil {
		return err
	}
	lock, err := badgerstore.Lock(n.cfg.DataDir)
	if err != nil {
		return err
	}
	n.lock = lock
	n.onStop(func(context.Context) error { return lock.Release() })
	limit, err := httpserver.OpenFileLimit()
	if err != nil {
		return err
	}
	stored, _ := os.ReadDir(StoreDir(n.cfg.DataDir)) // none before the first start
	n.files = httpserver.DivideOpenFiles(limit, len(stored), n.cfg.Connections, n.cfg.NATS.URL == "")
	if n.files.Wanted > 0 {
		n.cfg.Logger.Warn("few file descriptors: fewer connections are accepted", "files", n.files.Limit, "reserved", n.files.Reserved,
			"public", n.files.Public, "per_address", n.files.PerAddress, "operators", n.files.Operators, "nats", n.files.NATS, "hint", n.files.Hint())
	}
	take := n.takePublic
	if n.closedUntilServed() {
		take = n.checkPublic
	}
	if err := take(); err != nil {
		return err
	}
	if err := n.takeAdmin(); err != nil {
		return err
	}
	if n.issuer = n.cfg.PublicURL; n.issuer == "" {
		n.issuer = "http://" + n.addr
	}
	if n.cfg.NATS.URL != "" {
		return nil
	}
	if err := n.natsPassword(); err != nil {
		return err
	}
	if n.nats, n.natsOwn, err = startNATS(n.cfg.NATS, n.files.NATS, n.cfg.Setting("nats.listen"), n.cfg.Logger); err != nil {
		return err
	}
	n.onStop(func(context.Context) error {
		n.nats.Shutdown()
		n.nats.WaitForShutdown()
		return nil
	})
	return nil
}

// takePublic opens the public listener.
func (n *Node) takePublic() error {
	limits, err := n.publicLimits()
	if err != nil {
		return err
	}
	public, err := n.listen()
	if err != nil {
		return err
	}
	if n.cfg.LoopbackIPv6 {
		limits.Total -= n.takeLoopbackIPv6(n.addr, limits)
	}
	n.public = n.newServer(public, limits)
	n.onStop(n.public.Release)
	return nil
}

func (n *Node) listen() (net.Listener, error) {
	public, err := httpserver.Listen("the broker", n.cfg.Listen, n.cfg.Setting("listen"))
	if err == nil {
		n.addr = public.Addr().String()
	}
	return public, err
}

// checkPublic returns an error if the public listener cannot be opened.
func (n *Node) checkPublic() error {
	public, err := n.listen()
	if err != nil {
		return err
	}
	return public.Close()
}

// closedUntilServed reports whether the public port refuses connections until the broker serves. To join the other
// brokers of a store takes up to half a minute. In that time a balancer has to choose another broker, and clients would
// wait for an answer. A port that the system chose stays open, because another program could take it.
func (n *Node) closedUntilServed() bool {
	_, port, err := net.SplitHostPort(n.cfg.Listen)
	return n.cfg.Engine != nil && err == nil && port != "" && port != "0"
}

// takeLoopbackIPv6 also listens on [::1], for a browser that resolves localhost to it. It is not an error if
// the machine has no IPv6. A port in use is reported: such a browser reaches the other program. It returns
// how many of the public listener's connections the second one takes: a quarter, so that the streams, which
// may take half of all, do not fill the first.
func (n *Node) takeLoopbackIPv6(public string, limits httpserver.Limits) (connections int) {
	_, port, err := net.SplitHostPort(public)
	if err != nil {
		return 0
	}
	l, err := net.Listen("tcp6", net.JoinHostPort("::1", port))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		n.cfg.Logger.Warn("not listening on [::1]: another program uses the port there, and a browser that resolves localhost to ::1 reaches that program", "port", port)
	case err != nil:
		n.cfg.Logger.Debug("not listening on [::1]", "error", err)
	default:
		limits.Total = max(1, limits.Total/4)
		n.publicIPv6 = n.newServer(l, limits)
		n.onStop(n.publicIPv6.Release)
		return limits.Total
	}
	return 0
}

// publicConnections returns how many connections the public listeners have.
func (n *Node) publicConnections() int {
	open := n.public.Counts().Open
	if n.publicIPv6 != nil {
		open += n.publicIPv6.Counts().Open
	}
	return open
}

// publicLimits returns the limits of the public listener's connections.
func (n *Node) publicLimits() (httpserver.Limits, error) {
	proxies, err := httpapi.ParseProxies(n.cfg.Public.TrustedProxies)
	if err != nil {
		return httpserver.Limits{}, fmt.Errorf("reading the trusted proxies: %w", err)
	}
	return httpserver.Limits{
		Total: n.files.Public, PerAddress: n.files.PerAddress,
		Exempt: proxies.Contain, ExemptLoopback: n.cfg.Connections.PerAddress == 0,
	}, nil
}

// takeAdmin opens the operators' socket and, if it is configured, their TCP listener.
func (n *Node) takeAdmin() error {
	socket, err := adminsocket.Listen(n.cfg.Admin.Socket)
	switch {
	case errors.Is(err, adminsocket.ErrPathTooLong) && n.cfg.Admin.Listen != "" && n.cfg.Admin.Socket == adminsocket.Path(n.cfg.DataDir):
		n.cfg.Logger.Warn("operators reach the broker only over TCP", "error", err)
	case err != nil:
		return err
	default:
		n.socket = n.newServer(socket, httpserver.Limits{Total: n.files.Operators})
		n.onStop(n.socket.Release)
	}
	if n.cfg.Admin.Listen == "" {
		return nil
	}
	admin, err := httpserver.Listen("the admin listener", n.cfg.Admin.Listen, n.cfg.Setting("admin.listen"))
	if err != nil {
		return err
	}
	n.admin = n.newServer(admin, httpserver.Limits{Total: n.files.Operators})
	n.onStop(n.admin.Release)
	return nil
}

// newServer returns the server of a listener. Its error is sent to Failed if it ends by itself.
func (n *Node) newServer(l net.Listener, limits httpserver.Limits) *httpserver.Server {
	return httpserver.New(l, limits, n.cfg.Logger, func(err error) {
		select {
		case n.failed <- err:
		default: // one error is enough to end the process
		}
	})
}

// stopListening drains the listeners at the same time, so that slow clients of one do not use up the time of
// the others and of the actors.
func (n *Node) stopListening(ctx context.Context) error {
	servers := []*httpserver.Server{n.public, n.publicIPv6, n.socket, n.admin}
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		if s != nil {
			all.Go(func() { errs[i] = s.Shutdown(ctx) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}
