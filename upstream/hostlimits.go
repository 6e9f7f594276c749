package upstream

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// The limits of requests to URLs that strangers name, so that the broker cannot be used to flood a site.
const (
	maxFetches     = 32 // at once
	maxHostFetches = 8  // at once from one host
	// A host is asked hostBurst times at once, and once more for each hostEvery.
	hostBurst = 20
	hostEvery = time.Second
	// limitedHosts bounds the hosts whose requests are counted. Beyond it, the host that was asked least recently is forgotten.
	limitedHosts = 4096
)

var (
	errFetches     = errors.New("too many documents and keys are being fetched now")
	errHostFetches = errors.New("too many requests to this host: try again later")
)

// hostLimits sends requests within the limits, and refuses others at once. A request lasts until the body of its answer is closed.
// It is safe for concurrent use.
type hostLimits struct {
	next http.RoundTripper
	now  func() time.Time

	mu      sync.Mutex // guards the fields below
	running int
	hosts   *simplelru.LRU[string, *hostLoad]
}

type hostLoad struct {
	rate    *rate.Limiter
	running int
}

func newHostLimits(next http.RoundTripper, now func() time.Time) *hostLimits {
	hosts, err := simplelru.NewLRU[string, *hostLoad](limitedHosts, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &hostLimits{next: next, now: now, hosts: hosts}
}

// RoundTrip implements [http.RoundTripper].
func (l *hostLimits) RoundTrip(r *http.Request) (*http.Response, error) {
	host, err := l.begin(strings.ToLower(strings.TrimSuffix(r.URL.Hostname(), ".")))
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

func (l *hostLimits) begin(name string) (*hostLoad, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	host, found := l.hosts.Get(name)
	if !found {
		host = &hostLoad{rate: rate.NewLimiter(rate.Every(hostEvery), hostBurst)}
		l.hosts.Add(name, host)
	}
	switch {
	case l.running >= maxFetches:
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

// endingBody calls end when it is closed.
type endingBody struct {
	io.ReadCloser
	end func()
}

func (b *endingBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
