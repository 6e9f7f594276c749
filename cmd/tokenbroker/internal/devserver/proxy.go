package devserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// checkEvery is how often the proxy asks each broker whether it is ready, checkTimeout how long it waits for the answer.
	checkEvery   = 500 * time.Millisecond
	checkTimeout = time.Second
	// connectTimeout is how long the proxy waits for a connection before it tries the next broker, answerTimeout how long
	// for the header of an answer.
	connectTimeout = time.Second
	answerTimeout  = 30 * time.Second
)

// balancer sends each request to the next broker that is ready. It sends a request to another one only if connecting
// fails, because a broker that has received a request may have done what it asks for.
type balancer struct {
	backends  []*backend
	next      atomic.Uint64
	transport *http.Transport
	logger    *slog.Logger
}

// backend is a broker behind the proxy.
type backend struct {
	name string
	host atomic.Pointer[string] // host:port; nil before its first start
	// ready is whether it accepted the last connection and its last answer to GET /readyz was 200.
	ready atomic.Bool
}

var (
	_ http.RoundTripper = (*balancer)(nil)
	// errNoBroker is the error of a request if no broker accepts a connection.
	errNoBroker = errors.New("no broker accepts connections")
)

func newBalancer(names []string, logger *slog.Logger) *balancer {
	b := &balancer{logger: logger, transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: connectTimeout}).DialContext,
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, // shorter than the brokers'
		ResponseHeaderTimeout: answerTimeout, DisableCompression: true, // the client's Accept-Encoding is passed on
	}}
	for _, name := range names {
		b.backends = append(b.backends, &backend{name: name})
	}
	return b
}

// RoundTrip implements [http.RoundTripper]. The caller closes the body.
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	turn := b.next.Add(1)
	for _, ready := range []bool{true, false} { // if none is ready, the answer of one says why
		for i := range uint64(len(b.backends)) {
			to := b.backends[(turn+i)%uint64(len(b.backends))]
			host := to.host.Load()
			if host == nil || to.ready.Load() != ready {
				continue
			}
			out := req.Clone(req.Context())
			out.URL.Scheme, out.URL.Host = "http", *host
			if req.Body != nil {
				out.Body = io.NopCloser(req.Body) // a transport that cannot connect closes it
			}
			resp, err := b.transport.RoundTrip(out)
			var failed *net.OpError
			if err == nil || !errors.As(err, &failed) || failed.Op != "dial" || req.Context().Err() != nil {
				return resp, err
			}
			b.set(to, false)
		}
	}
	return nil, errNoBroker
}

// watch asks a broker whether it is ready until ctx ends.
func (b *balancer) watch(ctx context.Context, to *backend) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		if host := to.host.Load(); host != nil {
			ready := b.check(ctx, *host)
			if ctx.Err() != nil {
				return
			}
			b.set(to, ready)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *balancer) check(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := b.transport.RoundTrip(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}

func (b *balancer) set(to *backend, ready bool) {
	if to.ready.Swap(ready) == ready {
		return
	}
	if ready {
		b.logger.Info("the proxy sends requests to a broker", "broker", to.name)
	} else {
		b.logger.Warn("the proxy leaves out a broker that is not ready", "broker", to.name)
	}
}

// proxy serves a balancer. It owns the goroutines of its listeners and checks, which stop ends and waits for.
type proxy struct {
	*balancer
	server *http.Server
	failed chan error
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startProxy serves at the listeners, which it owns.
func startProxy(listeners []net.Listener, names []string, logger *slog.Logger) *proxy {
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxy{balancer: newBalancer(names, logger), failed: make(chan error, len(listeners)), cancel: cancel}
	errorLog := slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	p.server = &http.Server{
		ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 90 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: errorLog,
		Handler: &httputil.ReverseProxy{Rewrite: forward, Transport: p.balancer, ErrorHandler: p.answerError, ErrorLog: errorLog},
	}
	for _, l := range listeners {
		p.wg.Go(func() {
			if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				p.failed <- err
			}
		})
	}
	for _, to := range p.backends {
		p.wg.Go(func() { p.watch(ctx, to) })
	}
	return p
}

// forward makes the request of a broker, which trusts this proxy: the client's address is that of its connection, and the
// broker draws the request's id. A ReverseProxy removes what the client said about itself.
func forward(r *httputil.ProxyRequest) {
	r.Out.Host, r.Out.URL.RawQuery = r.In.Host, r.In.URL.RawQuery
	r.SetXForwarded()
	r.Out.Header.Del("X-Request-Id")
}

// answerError answers a request that failed. If no broker has received it, the client may repeat it.
func (p *proxy) answerError(w http.ResponseWriter, r *http.Request, err error) {
	p.logger.Debug("the proxy has no answer", "path", r.URL.Path, "error", err)
	if errors.Is(err, errNoBroker) {
		w.Header().Set("Retry-After", "1")
		http.Error(w, errNoBroker.Error(), http.StatusServiceUnavailable)
		return
	}
	http.Error(w, "the broker's answer is missing", http.StatusBadGateway)
}

// drain accepts no further requests and waits for answers, but not for streams, which the brokers end.
func (p *proxy) drain() {
	p.cancel() // no further checks: the brokers end next
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.server.Shutdown(ctx)
}

// stop ends the requests that are left.
func (p *proxy) stop() {
	p.cancel()
	_ = p.server.Close()
	p.wg.Wait()
	p.transport.CloseIdleConnections()
}
