package upstream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"tokenbroker/broker"
)

func TestClassOfAddress(t *testing.T) {
	for text, want := range map[string]addressClass{
		"8.8.8.8": publicAddress, "100.63.255.255": publicAddress, "172.32.0.1": publicAddress, "2a00:1450::1": publicAddress,
		"::ffff:8.8.8.8": publicAddress, "64:ff9b::8.8.8.8": publicAddress, "2002:808:808::1": publicAddress,
		"10.0.0.1": privateAddress, "172.16.0.1": privateAddress, "172.31.255.255": privateAddress, "192.168.1.1": privateAddress,
		"100.64.0.1": privateAddress, "198.18.0.1": privateAddress, "fd00::1": privateAddress, "fc00::1": privateAddress, "fec0::1": privateAddress,
		"::ffff:10.0.0.1": privateAddress, "64:ff9b::10.0.0.1": privateAddress, "64:ff9b:1::1": privateAddress, "2002:a00:1::1": privateAddress,
		"127.0.0.1": loopbackAddress, "127.255.255.255": loopbackAddress, "::1": loopbackAddress, "::ffff:127.0.0.1": loopbackAddress,
		"64:ff9b::127.0.0.1": loopbackAddress, "2002:7f00:1::": loopbackAddress,
		"0.0.0.0": reservedAddress, "0.1.2.3": reservedAddress, "169.254.169.254": reservedAddress, "224.0.0.1": reservedAddress,
		"255.255.255.255": reservedAddress, "192.0.2.1": reservedAddress, "240.0.0.1": reservedAddress,
		"::": reservedAddress, "fe80::1": reservedAddress, "fe80::1%eth0": reservedAddress, "ff02::1": reservedAddress,
		"::7f00:1": reservedAddress, "::ffff:0:127.0.0.1": reservedAddress, "2001::1": reservedAddress, "2001:db8::1": reservedAddress,
		"64:ff9b::169.254.169.254": reservedAddress, "::ffff:169.254.169.254": reservedAddress,
	} {
		if got := classOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	if got := classOf(netip.Addr{}); got != reservedAddress {
		t.Errorf("no address is %s", got)
	}
	for host, want := range map[string]addressClass{
		"localhost": loopbackAddress, "LOCALHOST.": loopbackAddress, "a.localhost": loopbackAddress, "::1": loopbackAddress,
		"id.example.com": publicAddress, "169.254.169.254": reservedAddress,
	} {
		if got := classOfHost(host); got != want {
			t.Errorf("host %s is %s, want %s", host, got, want)
		}
	}
}

// server listens on 127.0.0.1 and counts connections.
func server(t *testing.T) (port string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, connections
}

// TestDialRefusesAddressesNearerThanTheIssuer checks the address after the name was resolved, and
// before anything is sent.
func TestDialRefusesAddressesNearerThanTheIssuer(t *testing.T) {
	port, connections := server(t)
	o := newTransport(&Config{Name: "corp"}, "https://id.example.com")
	for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1"} {
		_, err := o.dial(t.Context(), "tcp", net.JoinHostPort(host, port))
		var blocked *addressError
		if !errors.As(err, &blocked) || !strings.Contains(err.Error(), "providers.corp.endpoint_hosts") {
			t.Errorf("%s: %v", host, err)
		}
	}
	o.reach.Store(int32(privateAddress))
	if _, err := o.dial(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
		t.Error("an endpoint on loopback of a private issuer was dialed")
	}
	if n := connections.Load(); n != 0 {
		t.Fatalf("%d connections were made", n)
	}
	o.reach.Store(int32(loopbackAddress))
	for _, allowed := range []func(){func() {}, func() {
		o.reach.Store(int32(publicAddress))
		o.cfg.EndpointHosts = []string{"127.0.0.1", "LocalHost"}
	}} {
		allowed()
		for _, host := range []string{"localhost", "127.0.0.1"} {
			c, err := o.dial(t.Context(), "tcp", host+":"+port)
			if err != nil {
				t.Fatalf("%s: %v", host, err)
			}
			_ = c.Close()
		}
	}
}

// faraway returns a provider whose issuer has a public name and whose document is doc. Its other
// requests use the network.
func faraway(t *testing.T, doc string) *Provider {
	t.Helper()
	p, err := New(Config{Name: "corp", Issuer: "https://id.example.com", ClientID: "web", ClientSecret: "do-not-tell"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.issuers[0].transport.discovery = &http.Client{Transport: answers(func(*http.Request) *http.Response {
		w := httptest.NewRecorder()
		_, _ = w.WriteString(doc)
		return w.Result()
	})}
	return p
}

type answers func(*http.Request) *http.Response

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

const farawayDocument = `{"issuer":"https://id.example.com","authorization_endpoint":"https://id.example.com/a",
	"token_endpoint":"https://token.example.com/t","jwks_uri":"https://keys.example.com/k"}`

// TestEndpointNamesThatResolveToThisMachine checks names that are valid in the document, but
// resolve to this machine when they are used.
func TestEndpointNamesThatResolveToThisMachine(t *testing.T) {
	port, connections := server(t)
	p := faraway(t, farawayDocument)
	p.issuers[0].transport.guarded.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return p.issuers[0].transport.dial(ctx, network, "localhost:"+port)
	}
	_, err := p.Exchange(t.Context(), broker.CodeExchange{Code: "c", Verifier: "v", Nonce: "n"})
	if !errors.Is(err, broker.ErrUpstreamUnavailable) || !strings.Contains(err.Error(), "token_endpoint: host") {
		t.Errorf("the token endpoint: %v", err)
	}
	_, err = p.Check(t.Context())
	if !errors.Is(err, broker.ErrUpstreamUnavailable) || !strings.Contains(err.Error(), "jwks_uri") ||
		!strings.Contains(err.Error(), "providers.corp.endpoint_hosts") {
		t.Errorf("the keys: %v", err)
	}
	if strings.Contains(err.Error(), "do-not-tell") {
		t.Errorf("the error shows the client secret: %v", err)
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// TestIssuersAddressLimitsEndpoints checks that the class of the issuer is that of the address that
// responds with its certificate.
func TestIssuersAddressLimitsEndpoints(t *testing.T) {
	keys := setOf(t, members(t, rsaKey(t, 2048), map[string]any{"kid": "k"}))
	var srv *httptest.Server
	srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/k" {
			_, _ = w.Write(keys)
			return
		}
		issuer := "https://" + r.Host
		_, _ = w.Write([]byte(`{"issuer":"` + issuer + `","authorization_endpoint":"` + issuer + `/a","token_endpoint":"` + issuer + `/t","jwks_uri":"` + srv.URL + `/k"}`))
	}))
	defer srv.Close()
	address := srv.Listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Name: "corp", Issuer: "https://example.com:" + port, ClientID: "web"}) // the name in the certificate
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	trusted := srv.Client().Transport.(*http.Transport).TLSClientConfig
	p.issuers[0].transport.open.TLSClientConfig, p.issuers[0].transport.guarded.TLSClientConfig = trusted, trusted
	p.issuers[0].transport.open.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	if _, err := p.Check(t.Context()); err != nil || addressClass(p.issuers[0].transport.reach.Load()) != loopbackAddress {
		t.Errorf("an issuer on this machine, with its keys: %v, reach %s", err, addressClass(p.issuers[0].transport.reach.Load()))
	}
	// The same connection through a proxy, for which the address of the issuer is unknown.
	p.issuers[0].transport.proxy = func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: address}, nil }
	_, succeeded := p.issuers[0].transport.observeDiscovery(t.Context())
	succeeded()
	if reach := addressClass(p.issuers[0].transport.reach.Load()); reach != publicAddress {
		t.Errorf("behind a proxy: reach %s", reach)
	}
}

// TestEndpointsBehindAProxy checks endpoints if the environment has a proxy, which resolves names
// itself.
func TestEndpointsBehindAProxy(t *testing.T) {
	var asked atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := r.Method + " " + r.Host
		asked.Store(&text)
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	p := faraway(t, farawayDocument)
	p.issuers[0].transport.proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	if _, err := p.Check(t.Context()); err == nil {
		t.Error("there are keys, although the proxy refused")
	}
	if got := asked.Load(); got == nil || *got != "CONNECT keys.example.com:443" {
		t.Errorf("the proxy had requests for %v", got)
	}
	p = faraway(t, strings.Replace(farawayDocument, "keys.example.com", "10.0.0.5", 1))
	p.issuers[0].transport.proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	if _, err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "jwks_uri: host \"10.0.0.5\" has the private address") {
		t.Errorf("an address in the document: %v", err)
	}
}
