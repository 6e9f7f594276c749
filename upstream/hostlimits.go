package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// The limits of requests to URLs that strangers name, so that the broker cannot be used to flood a site.
const (
	maxFetches     = 32 // at once
	keptFetches    = 8  // of these, places for what the broker already has
	maxHostFetches = 8  // at once from one host
	// A host is asked hostBurst times at once, and once more for each hostEvery.
	hostBurst = 20
	hostEvery = time.Second
	// An address (IPv6: a /64), which many names may have, gets addressBurst connections at once, and one more for each addressEvery.
	addressBurst = 100
	addressEvery = 200 * time.Millisecond
	// maxAttempts bounds the addresses of a name to which a connection is tried.
	maxAttempts = 4
	// limitedHosts bounds the hosts and the addresses whose requests are counted. Beyond it, the one that was asked least recently is
	// forgotten.
	limitedHosts = 4096
)

var (
	errFetches     = errors.New("too many documents and keys are being fetched now")
	errHostFetches = errors.New("too many requests to this host: try again later")
	errAddress     = errors.New("too many connections to this address: try again later")
	errAttempts    = errors.New("the host has too many addresses that do not answer")
)

// keptKey is in the context of a request for a document that the broker already has. Such requests have limits of their own, because
// a stranger could otherwise use up the limit of a host by URLs that do not exist there, and end the use of those that do.
type keptKey struct{}

// hostLimits sends requests within the limits, and refuses others at once. A request lasts until the body of its answer is closed.
// It is safe for concurrent use.
type hostLimits struct {
	next http.RoundTripper
	now  func() time.Time

	mu        sync.Mutex // guards the fields below
	running   int
	hosts     *simplelru.LRU[hostName, *hostLoad]
	addresses *simplelru.LRU[netip.Prefix, *rate.Limiter]
}

type hostName struct {
	name string
	kept bool // see keptKey
}

type hostLoad struct {
	rate    *rate.Limiter
	running int
}

func newHostLimits(next http.RoundTripper, now func() time.Time) *hostLimits {
	hosts, err1 := simplelru.NewLRU[hostName, *hostLoad](limitedHosts, nil)
	addresses, err2 := simplelru.NewLRU[netip.Prefix, *rate.Limiter](limitedHosts, nil)
	if err := errors.Join(err1, err2); err != nil {
		panic(err) // only for a size that is not positive
	}
	return &hostLimits{next: next, now: now, hosts: hosts, addresses: addresses}
}

// RoundTrip implements [http.RoundTripper].
func (l *hostLimits) RoundTrip(r *http.Request) (*http.Response, error) {
	_, kept := r.Context().Value(keptKey{}).(bool)
	host, err := l.begin(hostName{strings.ToLower(strings.TrimSuffix(r.URL.Hostname(), ".")), kept})
	if err != nil {
		return nil, err
	}
	end := sync.OnceFunc(func() { l.end(host) })
	resp, err := l.next.RoundTrip(r)
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = &endingBody{resp.Body, end}
	return resp, nil
}

func (l *hostLimits) begin(name hostName) (*hostLoad, error) {
	most := maxFetches - keptFetches
	if name.kept {
		most = maxFetches
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	host, found := l.hosts.Get(name)
	if !found {
		host = &hostLoad{rate: rate.NewLimiter(rate.Every(hostEvery), hostBurst)}
		l.hosts.Add(name, host)
	}
	switch {
	case l.running >= most:
		return nil, errFetches
	case host.running >= maxHostFetches || !host.rate.AllowN(l.now(), 1):
		return nil, errHostFetches
	}
	l.running++
	host.running++
	return host, nil
}

func (l *hostLimits) end(host *hostLoad) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	host.running--
}

// connect counts a connection to an address: the given one of those that are tried for a name, from 1. It returns an error if a limit
// does not allow the connection.
func (l *hostLimits) connect(to netip.Addr, attempt int) error {
	if attempt > maxAttempts {
		return errAttempts
	}
	to = to.Unmap().WithZone("")
	block := netip.PrefixFrom(to, min(64, to.BitLen())).Masked()
	l.mu.Lock()
	defer l.mu.Unlock()
	address, found := l.addresses.Get(block)
	if !found {
		address = rate.NewLimiter(rate.Every(addressEvery), addressBurst)
		l.addresses.Add(block, address)
	}
	if !address.AllowN(l.now(), 1) {
		return errAddress
	}
	return nil
}

// endingBody calls end when it is closed.
type endingBody struct {
	io.ReadCloser
	end func()
}

func (b *endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
