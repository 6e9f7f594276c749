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
)

// outbound sends all requests to one issuer of a provider. It follows no redirect and reads at most
// maxAnswer of an answer. The configured issuer may have any address. The endpoints that its
// document names are reached at addresses that are no nearer than the issuer's (see [zone]),
// except those on hosts that the operator named. The check is made on the address that is
// dialed, after its name was resolved, so that a name cannot change between check and use.
//
// Where the environment names a proxy (HTTPS_PROXY, NO_PROXY), the proxy resolves the names and
// decides which addresses can be reached; only a URL's literal address is checked here.
type outbound struct {
	cfg    *Config
	issuer string
	proxy  func(*http.Request) (*url.URL, error)
	// open dials any address; guarded, which uses no proxy, only those within reach.
	open, guarded *http.Transport
	reach         atomic.Int32 // a zone: the issuer's, as of the last discovery

	discovery *http.Client // asks the issuer
	endpoints *http.Client // asks what its document names
}

func newOutbound(cfg *Config, issuer string) *outbound {
	o := &outbound{cfg: cfg, issuer: issuer, proxy: http.ProxyFromEnvironment}
	o.open = newTransport()
	o.open.Proxy = func(r *http.Request) (*url.URL, error) { return o.proxy(r) }
	o.guarded = newTransport()
	o.guarded.DialContext = o.dial
	open, endpoints := http.RoundTripper(o.open), http.RoundTripper(o)
	if cfg.Transport != nil {
		open, endpoints = cfg.Transport, cfg.Transport
	}
	if cfg.Instrument != nil {
		open, endpoints = cfg.Instrument(open), cfg.Instrument(endpoints)
	}
	o.discovery, o.endpoints = boundedClient(issuerOrError{open}, cfg.Timeout), boundedClient(endpoints, cfg.Timeout)
	return o
}

func newTransport() *http.Transport {
	return &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConns: 8, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
	}
}

// RoundTrip implements [http.RoundTripper] for the endpoints.
func (o *outbound) RoundTrip(r *http.Request) (*http.Response, error) {
	if proxy, err := o.proxy(r); proxy != nil || err != nil {
		return o.open.RoundTrip(r)
	}
	return o.guarded.RoundTrip(r)
}

func (o *outbound) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dialing: %w", err)
	}
	var d net.Dialer
	if !o.named(host) {
		d.ControlContext = func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(resolved)
			if err != nil {
				return fmt.Errorf("reading the address of %.100q: %w", host, err)
			}
			return o.check(host, at.Addr().String(), zoneOf(at.Addr()))
		}
	}
	return d.DialContext(ctx, network, address)
}

// named reports whether the operator named the host.
func (o *outbound) named(host string) bool {
	return slices.ContainsFunc(o.cfg.EndpointHosts, func(name string) bool { return strings.EqualFold(name, host) })
}

func (o *outbound) check(host, address string, at zone) error {
	if reach := zone(o.reach.Load()); at > reach && !o.named(host) {
		return &addressError{provider: o.cfg.Name, host: host, address: address, zone: at, reach: reach}
	}
	return nil
}

// addressError is an endpoint with an address that is nearer than the issuer's.
type addressError struct {
	provider, host, address string
	zone, reach             zone
}

func (e *addressError) Error() string {
	return fmt.Sprintf("host %.100q has the %s address %.100s, while the issuer has a %s one: "+
		"if this is intended, add the host to providers.%s.endpoint_hosts", e.host, e.zone, e.address, e.reach, e.provider)
}

// observed returns a context for the discovery, and what to call once it succeeded: the zone
// of the address that answered with the issuer's certificate becomes the reach of the endpoints.
func (o *outbound) observed(ctx context.Context) (observing context.Context, succeeded func()) {
	var answered net.Addr
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { answered = info.Conn.RemoteAddr() }}
	return httptrace.WithClientTrace(ctx, trace), func() {
		reach := zonePublic
		if issuer, err := url.Parse(o.issuer); err == nil {
			reach = zoneOfHost(issuer.Hostname())
			proxy, err := o.proxy(&http.Request{URL: issuer})
			if tcp, ok := answered.(*net.TCPAddr); ok && proxy == nil && err == nil {
				reach = zoneOf(tcp.AddrPort().Addr())
			}
		}
		o.reach.Store(int32(reach))
	}
}

func (o *outbound) close() {
	o.open.CloseIdleConnections()
	o.guarded.CloseIdleConnections()
}

// checkEndpoint refuses a URL of the discovery document that the broker may not use.
func (o *outbound) checkEndpoint(text string) error {
	u, err := secureURL(text)
	if err != nil {
		return err
	}
	if u.Scheme == "http" && !strings.HasPrefix(strings.ToLower(o.issuer), "http:") {
		return fmt.Errorf("host %.100q: want https; only an issuer that is http itself, on loopback, may name http endpoints", u.Host)
	}
	return o.check(u.Hostname(), u.Hostname(), zoneOfHost(u.Hostname()))
}

// boundedClient follows no redirect and reads at most maxAnswer of an answer.
func boundedClient(t http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout, Transport: limited{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// limited reads at most maxAnswer of an answer, and reads it as JSON if it begins like a JSON
// object: all answers that the broker uses are one. Their Content-Type does not matter, as
// issuers name a key set application/jwk-set+json, text/plain, text/javascript or nothing, and
// x/oauth2 would take text/plain for a form. A byte order mark in front is ignored (RFC 8259 §8.1).
type limited struct{ next http.RoundTripper }

var errTooLarge = errors.New("the answer is too large")

// RoundTrip implements [http.RoundTripper].
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > maxAnswer {
		_ = resp.Body.Close()
		return nil, errTooLarge
	}
	body := &limitedBody{body: resp.Body, left: maxAnswer}
	begin := bufio.NewReader(body)
	first, _ := begin.Peek(64) // an error comes again at the next read
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

// limitedBody fails, instead of ending, at its limit.
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

// errNoIssuer means that the host answers, but does not have the issuer. AWS answers 403 for an
// issuer that a user pool does not have.
var errNoIssuer = errors.New("the host has no discovery document of this issuer")

// issuerOrError turns the answers 403 and 404 to a discovery into errNoIssuer.
type issuerOrError struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t issuerOrError) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil && (resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusNotFound) {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("status %d: %w", resp.StatusCode, errNoIssuer)
	}
	return resp, err
}
