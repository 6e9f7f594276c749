package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"tokenbroker/internal/httpclient"
)

// transport sends all requests to one issuer of a provider. It does not follow redirects and reads
// at most maxAnswer of an answer. The configured issuer may have any address. The addresses of the
// endpoints in its document must not be nearer than the issuer's (see [addressClass]), except on
// hosts that the operator named. The address is checked when the connection is made, after its name
// was resolved, so that the name cannot change between check and use.
//
// If the environment has a proxy (HTTPS_PROXY, NO_PROXY), the proxy resolves the names and decides
// which addresses can be reached. Only a literal address in a URL is checked then.
type transport struct {
	cfg    *Config
	issuer string
	proxy  func(*http.Request) (*url.URL, error)
	// open connects to any address. guarded, which does not use a proxy, connects only to allowed
	// ones.
	open, guarded *http.Transport
	reach         atomic.Int32 // the addressClass of the issuer at the last discovery
	limit, hint   string       // what reach is, and how an operator allows a nearer address, for errors
	// claimed is true if strangers name the URLs. Then reach does not apply: an address must be public, or on loopback if loopback
	// is true.
	claimed, loopback bool
	limits            *hostLimits   // of the requests of a claimed transport; otherwise nil
	resolver          *net.Resolver // of guarded; if nil, net.DefaultResolver

	discovery *http.Client      // for the issuer
	endpoints *http.Client      // for the endpoints in its document
	sender    http.RoundTripper // sends the requests of endpoints
}

func newTransport(cfg *Config, issuer string) *transport {
	t := &transport{cfg: cfg, issuer: issuer, proxy: http.ProxyFromEnvironment, limit: "the issuer has", hint: "add the host to providers." + cfg.Name + ".endpoint_hosts"}
	if cfg.keysOnly {
		t.hint = "name the keys by jwks_uri in the client's workload"
	}
	t.open = newHTTPTransport()
	t.open.Proxy = func(r *http.Request) (*url.URL, error) { return t.proxy(r) }
	t.guarded = newHTTPTransport()
	t.guarded.DialContext = t.dial
	open, endpoints := http.RoundTripper(t.open), http.RoundTripper(t)
	if cfg.Transport != nil {
		open, endpoints = cfg.Transport, cfg.Transport
	}
	if cfg.Instrument != nil {
		open, endpoints = cfg.Instrument(open), cfg.Instrument(endpoints)
	}
	t.discovery = boundedClient(noIssuerTransport{open}, cfg.Timeout, maxAnswer)
	t.sender, t.endpoints = endpoints, boundedClient(endpoints, cfg.Timeout, maxAnswer)
	return t
}

// newKeysTransport returns the transport of a key set whose URI an operator configured. The host of the URI may have a private
// address, and one on this machine only if the URI has it literally.
func newKeysTransport(cfg *Config, uri string) (*transport, error) {
	u, err := secureURL(uri)
	if err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	t := newTransport(cfg, uri)
	t.limit, t.hint = "the URI allows", "write the address in jwks_uri"
	t.reach.Store(int32(max(privateAddress, min(loopbackAddress, classOfHost(u.Hostname())))))
	if err := t.checkEndpoint(uri); err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	return t, nil
}

func newHTTPTransport() *http.Transport {
	return &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConns: 8, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}

// RoundTrip implements [http.RoundTripper] for the endpoints.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if proxy, err := t.proxy(r); proxy != nil || err != nil {
		return t.open.RoundTrip(r)
	}
	return t.guarded.RoundTrip(r)
}

func (t *transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dialing: %w", err)
	}
	d := net.Dialer{Timeout: t.cfg.Timeout, Resolver: t.resolver} // a dial continues after its request ended
	if !t.named(host) {
		var attempts atomic.Int32
		d.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return fmt.Errorf("reading the address of %.100q: %w", host, err)
			}
			if err := t.check(host, at.Addr().String(), classOf(at.Addr())); err != nil || t.limits == nil {
				return err
			}
			return t.limits.connect(at.Addr(), int(attempts.Add(1)))
		}
	}
	return d.DialContext(ctx, network, address)
}

// named reports whether the operator named the host.
func (t *transport) named(host string) bool {
	return !t.claimed && slices.ContainsFunc(t.cfg.EndpointHosts, func(name string) bool { return strings.EqualFold(name, host) })
}

func (t *transport) check(host, address string, at addressClass) error {
	refused := &addressError{limit: t.limit, hint: t.hint, host: host, address: address, class: at, reach: addressClass(t.reach.Load()), claimed: t.claimed}
	switch {
	case t.claimed && (at == publicAddress || at == loopbackAddress && t.loopback):
		return nil
	case !t.claimed && (at <= refused.reach || t.named(host)):
		return nil
	}
	return refused
}

// addressError is the error for an endpoint whose address is nearer than the issuer's, or for a URL of a stranger whose address is
// not public.
type addressError struct {
	limit, hint, host, address string
	class, reach               addressClass
	claimed                    bool
}

func (e *addressError) Error() string {
	if e.claimed {
		return fmt.Sprintf("host %.100q has the %s address %.100s, but a URL that a client names must have a public one", e.host, e.class, e.address)
	}
	return fmt.Sprintf("host %.100q has the %s address %.100s, while %s a %s one: if this is intended, %s",
		e.host, e.class, e.address, e.limit, e.reach, e.hint)
}

// observeDiscovery returns a context for the discovery, and a function to call after its success:
// the class of the address that answered with the issuer's certificate becomes the limit for the
// endpoints.
func (t *transport) observeDiscovery(ctx context.Context) (observing context.Context, succeeded func()) {
	var answered net.Addr
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { answered = info.Conn.RemoteAddr() }}
	return httptrace.WithClientTrace(ctx, trace), func() {
		reach := publicAddress
		if issuer, err := url.Parse(t.issuer); err == nil {
			reach = classOfHost(issuer.Hostname())
			proxy, err := t.proxy(&http.Request{URL: issuer})
			if tcp, ok := answered.(*net.TCPAddr); ok && proxy == nil && err == nil {
				reach = classOf(tcp.AddrPort().Addr())
			}
		}
		t.reach.Store(int32(reach))
	}
}

func (t *transport) close() {
	t.open.CloseIdleConnections()
	t.guarded.CloseIdleConnections()
}

// checkEndpoint refuses a URL in the discovery document that the broker must not use.
func (t *transport) checkEndpoint(text string) error {
	u, err := secureURL(text)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !strings.HasPrefix(strings.ToLower(t.issuer), "http:") {
		return fmt.Errorf("host %.100q: want https; only an issuer that is http itself, on loopback, may name http endpoints", u.Host)
	}
	return t.check(u.Hostname(), u.Hostname(), classOfHost(u.Hostname()))
}

// boundedClient returns a client that does not follow redirects and reads at most limit bytes of an
// answer.
func boundedClient(t http.RoundTripper, timeout time.Duration, limit int) *http.Client {
	return &http.Client{
		Timeout: timeout, Transport: limitedTransport{t, limit},
		CheckRedirect: httpclient.RefuseRedirects,
	}
}

// limitedTransport reads at most limit bytes of an answer, and sets its Content-Type to JSON if it
// starts like a JSON object, as all answers do that the broker uses. Issuers send key sets as
// application/jwk-set+json, text/plain, text/javascript or without a type, and x/oauth2 would read
// text/plain as a form. A byte order mark at the start is ignored (RFC 8259 §8.1).
type limitedTransport struct {
	next  http.RoundTripper
	limit int
}

var errTooLarge = errors.New("the answer is too large")

// RoundTrip implements [http.RoundTripper].
func (l limitedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > int64(l.limit) {
		_ = resp.Body.Close()
		return nil, errTooLarge
	}
	body := &limitedBody{body: resp.Body, left: l.limit}
	begin := bufio.NewReader(body)
	first, _ := begin.Peek(64) // the next read returns an error again
	if bom := []byte("\ufeff"); bytes.HasPrefix(first, bom) {
		_, _ = begin.Discard(len(bom))
		first = first[len(bom):]
	}
	if bytes.HasPrefix(bytes.TrimLeft(first, " \t\r\n"), []byte("{")) {
		resp.Header.Set("Content-Type", "application/json")
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{begin, resp.Body}
	return resp, nil
}

// limitedBody returns an error at its limit instead of ending.
type limitedBody struct {
	body io.Reader
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.body.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// errNoIssuer means that the host answers but does not have the issuer. AWS answers with 403 for an
// issuer that a user pool does not have.
var errNoIssuer = errors.New("the host has no discovery document of this issuer")

// noIssuerTransport turns the answers 403 and 404 to a discovery into errNoIssuer.
type noIssuerTransport struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t noIssuerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil && (resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusNotFound) {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("status %d: %w", resp.StatusCode, errNoIssuer)
	}
	return resp, err
}
