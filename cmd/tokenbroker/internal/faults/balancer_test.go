package faults_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// brokerHeader is the header in which the balancer says which broker answered.
const brokerHeader = "X-Broker"

// newBalancer returns the URL of a proxy that sends each request to the next broker. It chooses another one only if
// connecting fails. It does not look at the brokers' health, so that requests reach a broker that cannot answer.
func newBalancer(t *testing.T, brokers []string) (url string) {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: time.Second}).DialContext
	transport.MaxIdleConnsPerHost = 64
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme = "http"; r.Out.URL.Host = "in.turn" },
		// FlushInterval is for the stream of revocations.
		Transport: &balancer{brokers: brokers, transport: transport}, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
	})
	t.Cleanup(func() { proxy.CloseClientConnections(); proxy.Close() })
	return proxy.URL
}

type balancer struct {
	brokers   []string
	transport http.RoundTripper
	next      atomic.Uint64
}

// RoundTrip implements [http.RoundTripper].
func (b *balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	body := []byte{}
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	turn := b.next.Add(1)
	var err error
	for i := range uint64(len(b.brokers)) {
		at := (turn + i) % uint64(len(b.brokers))
		again := req.Clone(req.Context())
		again.URL.Host, again.Body = strings.TrimPrefix(b.brokers[at], "http://"), io.NopCloser(bytes.NewReader(body))
		var resp *http.Response
		if resp, err = b.transport.RoundTrip(again); err == nil {
			resp.Header.Set(brokerHeader, strconv.FormatUint(at, 10))
			return resp, nil
		}
		if failed, ok := errors.AsType[*net.OpError](err); !ok || failed.Op != "dial" {
			return nil, err
		}
	}
	return nil, err
}
