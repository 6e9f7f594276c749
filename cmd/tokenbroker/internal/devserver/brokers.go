package devserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/config"
	"tokenbroker/internal/private"
	"tokenbroker/keyring"
	"tokenbroker/store/badgerstore"
)

const (
	// MaxBrokers is the largest value of [Options.Brokers].
	MaxBrokers = 5
	// portStep is the distance of the ports of a broker from those of the one before it. The first one is as far from the
	// ports of the options.
	portStep = 100
	// kekFile is the file of the brokers' key encryption key, in the data directory.
	kekFile = "brokers.kek"
)

// checkBrokers checks the options of several brokers.
func (o Options) checkBrokers() error {
	if o.RestartAfter < 0 || o.RestartAfter > 0 && o.Brokers == 0 {
		return fmt.Errorf("%w: --restart-after %s: want a duration above 0, and --brokers", terminal.ErrUsage, o.RestartAfter)
	}
	if o.Brokers > 0 {
		for flag, addr := range map[string]string{"--listen": o.Listen, "--admin-listen": o.AdminListen} {
			if _, err := above(addr, o.Brokers); err != nil {
				return fmt.Errorf("%w: %s: %w", terminal.ErrUsage, flag, err)
			}
		}
	}
	return nil
}

// above returns the address of broker i, from 1: at the port portStep*i above that of addr, or any free port if that of addr is 0.
func above(addr string, i int) (string, error) {
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return "", err
	}
	port := int(a.Port())
	if port > 0 {
		port += portStep * i
	}
	if port > 1<<16-1 {
		return "", fmt.Errorf("broker-%d has the port %d+%d, and the last one is 65535", i, a.Port(), portStep*i)
	}
	return netip.AddrPortFrom(a.Addr(), uint16(port)).String(), nil
}

// hostOf returns the address of an http URL without a path.
func hostOf(url string) string { return url[len("http://"):] }

// brokers serves with several brokers, each a process of its own.
func (r *run) brokers(ctx context.Context) (err error) {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program, to start the brokers: %w", err)
	}
	if err := private.MakeDir(r.dataDir, "data directory", "--data-dir"); err != nil {
		return err
	}
	lock, err := badgerstore.Lock(r.dataDir)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	if _, err := keyring.LoadOrCreateKEKFile(filepath.Join(r.dataDir, kekFile)); err != nil {
		return err
	}
	members, endpoints, err := r.members()
	if err != nil {
		return err
	}
	proxied, err := r.listenProxy()
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	issuer := "http://" + proxied[0].Addr().String()
	site, err := httpapi.NewSite(httpapi.SiteConfig{Issuer: issuer, Origins: r.Origins, InsecureDevelopment: true})
	if err != nil {
		return err
	}
	brokers, names, err := r.brokerProcesses(issuer, endpoints)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	natsURL, stopNATS, err := node.StartNATS(node.NATS{Listen: r.NATSListen, InsecureAnonymous: true}, "--nats-listen", r.logger)
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	defer stopNATS()
	for _, b := range brokers {
		b.settings.(*brokerSettings).NATS = natsURL
	}
	proxy := startProxy(proxied, names, r.logger)
	defer proxy.stop()

	pointer := &pointer{run: r}
	defer func() { err = errors.Join(err, pointer.forget()) }()
	p := &processes{
		dataDir: r.dataDir, program: program, restartAfter: r.RestartAfter, stderr: r.Stderr, logger: r.logger,
	}
	p.changed = func(l listed) {
		for i, b := range l.Brokers {
			if b.report.Listen != "" {
				proxy.backends[i].host.Store(&b.report.Listen)
			}
		}
		pointer.follow(l)
	}
	etcd, err := p.start(ctx, members...)
	defer etcd.stop()
	if err != nil {
		return unlessStopped(ctx, err)
	}
	running, err := p.start(ctx, brokers...)
	defer running.stop()
	defer proxy.drain()
	if err != nil {
		return unlessStopped(ctx, err)
	}
	defer func() { err = errors.Join(err, r.samples.stop()) }()
	if err := r.samples.start(ctx, issuer, natsURL, site.Allows, r.logger); err != nil {
		return unlessStopped(ctx, err)
	}
	state := p.list()
	b := banner{Broker: issuer, NATS: natsURL, Processes: &state}
	for _, broker := range state.Brokers {
		for _, line := range broker.report.Degraded {
			b.Degraded = append(b.Degraded, broker.Name+": "+line)
		}
	}
	b.Admin, b.TokenFile = state.Brokers[0].Admin, filepath.Join(r.dataDir, state.Brokers[0].Name, node.AdminTokenFile)
	if err := r.printReady(b); err != nil {
		return err
	}
	return r.wait(ctx, proxy.failed)
}

// listenProxy opens the listeners of the proxy: that of --listen and, if that is the default, [::1].
func (r *run) listenProxy() ([]net.Listener, error) {
	l, err := httpserver.Listen("the proxy", r.Listen, "--listen")
	if err != nil {
		return nil, err
	}
	listeners := []net.Listener{l}
	if r.Listen != config.DefaultListen {
		return listeners, nil
	}
	_, port, err := net.SplitHostPort(r.Listen)
	if err != nil {
		return nil, err
	}
	l, err = net.Listen("tcp6", net.JoinHostPort("::1", port))
	switch {
	case err == nil:
		listeners = append(listeners, l)
	case errors.Is(err, syscall.EADDRINUSE):
		r.logger.Warn("not listening on [::1]: another program uses the port there, and a browser that resolves localhost to ::1 reaches that program", "port", port)
	}
	return listeners, nil
}

// brokerProcesses returns the brokers, without the URL of NATS, and their names. A port in use is an error.
func (r *run) brokerProcesses(issuer string, endpoints []string) (brokers []*process, names []string, err error) {
	for i := 1; i <= r.Brokers; i++ {
		s := r.settings()
		s.Name, s.Issuer, s.Etcd, s.LogLevel = "broker-"+strconv.Itoa(i), issuer, endpoints, r.LogLevel
		s.DataDir, s.KEKFile = filepath.Join(r.dataDir, s.Name), filepath.Join(r.dataDir, kekFile)
		for flag, addr := range map[string]*string{"--listen": &s.Listen, "--admin-listen": &s.AdminListen} {
			if *addr, err = above(*addr, i); err != nil {
				return nil, nil, err
			}
			if err := probe(s.Name, *addr, flag); err != nil {
				return nil, nil, err
			}
		}
		c := &process{kind: KindBroker, name: s.Name, settings: &s}
		if _, port, _ := net.SplitHostPort(s.Listen); port != "0" {
			c.url = "http://" + s.Listen
		}
		brokers, names = append(brokers, c), append(names, s.Name)
	}
	return brokers, names, nil
}

// probe returns the error of a start whose port is in use.
func probe(what, addr, flag string) error {
	l, err := httpserver.Listen(what, addr, flag)
	if err != nil {
		return err
	}
	return l.Close()
}
