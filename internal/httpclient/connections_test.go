package httpclient_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"tokenbroker/internal/httpclient"
	"tokenbroker/internal/pipehttp"
)

// server counts its connections. /stream stays open until the test ends.
func server(t *testing.T, http2 bool) (client *http.Client, dials *atomic.Int64) {
	srv := &httptest.Server{EnableHTTP2: http2, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 != http2 {
			t.Errorf("the request is %s", r.Proto)
		}
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})}}
	pipehttp.Start(t, srv)
	dials = &atomic.Int64{}
	transport := srv.Client().Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, addr)
	}
	client, _ = httpclient.Renewable(srv.Client())
	client.Transport.(*httpclient.Connections).CloseIdleConnections() // without effect before the first Renew
	t.Cleanup(client.CloseIdleConnections)
	return client, dials
}

// get sends a request and returns the open body.
func get(t *testing.T, client *http.Client, scheme, path string) io.Closer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://127.0.0.1"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Body
}

// TestARequestAfterRenewUsesANewConnection: also over HTTP/2, where a stream keeps the old connection in use. Further
// requests share the new one.
func TestARequestAfterRenewUsesANewConnection(t *testing.T) {
	for scheme, http2 := range map[string]bool{"http": false, "https": true} {
		t.Run(scheme, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, dials := server(t, http2)
				connections := client.Transport.(*httpclient.Connections)
				stream := get(t, client, scheme, "/stream")
				defer func() { _ = stream.Close() }()
				request := func() int64 {
					before := dials.Load()
					if err := get(t, client, scheme, "/").Close(); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					return dials.Load() - before
				}
				request()
				for range 3 {
					if n := request(); n != 0 {
						t.Fatalf("a request made %d connections although one was idle", n)
					}
					connections.Renew()
					if n := request(); n != 1 {
						t.Fatalf("the request after Renew made %d connections", n)
					}
				}
			})
		})
	}
}

// idler is a transport of a caller that is not an [http.Transport].
type idler struct{ closed int }

func (*idler) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.ErrUnsupported }

func (i *idler) CloseIdleConnections() { i.closed++ }

func TestRenewClosesTheIdleConnectionsOfAnotherTransport(t *testing.T) {
	i := &idler{}
	client, connections := httpclient.Renewable(&http.Client{Transport: i})
	connections.Renew()
	if i.closed != 1 {
		t.Errorf("closed %d times", i.closed)
	}
	resp, err := client.Get("http://127.0.0.1/")
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the request was sent by another transport: %v", err)
	}
}
