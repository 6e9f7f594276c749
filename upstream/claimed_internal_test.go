package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tokenbroker/broker"
)

// nearHosts are literal addresses that are neither public nor on loopback.
var nearHosts = []string{
	"10.0.0.5", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "[fd00::1]",
	"[fe80::1]", "[fe80::1%25eth0]", "[::]", "[::ffff:10.0.0.5]", "[::ffff:169.254.169.254]", "[64:ff9b::10.0.0.5]", "[2002:a00:1::]",
	"127.1", "2130706433", "0x7f000001", "0X7F.1", "017700000001", "169.254.169.254.", "10.0.0.0x5",
}

// loopbackHosts are literal addresses and names of this machine.
var loopbackHosts = []string{"127.0.0.1", "127.9.9.9", "localhost", "a.localhost", "[::1]", "[::ffff:127.0.0.1]"}

func claimed(loopback bool) *transport {
	return newClaimedTransport(&Config{Timeout: 5 * time.Second, Now: time.Now}, loopback, maxUntrustedKeySet)
}

func TestLiteralAddressesOfStrangersMustBePublic(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		c := claimed(loopback)
		for _, host := range nearHosts {
			if _, err := c.checkClaimed("https://" + host + "/x"); err == nil {
				t.Errorf("%s was accepted, loopback %t", host, loopback)
			}
		}
		for _, host := range loopbackHosts {
			if _, err := c.checkClaimed("https://" + host + "/x"); (err == nil) != loopback {
				t.Errorf("%s: %v, loopback %t", host, err, loopback)
			}
		}
		for url, ok := range map[string]bool{
			"https://example.com/x": true, "https://8.8.8.8/x": true, "https://[2a00:1450::1]:8443/x": true, "http://example.com/x": false,
			"http://localhost:1/x": loopback, "http://127.0.0.1/x": loopback, "http://10.0.0.5/x": false, "ftp://example.com/x": false,
			"https://u@example.com/": false, "https:example.com": false, "https:///x": false, "https://example.com/#f": false, "": false,
		} {
			if _, err := c.checkClaimed(url); (err == nil) != ok {
				t.Errorf("%q: %v, loopback %t", url, err, loopback)
			}
		}
	}
}

// TestNamesOfStrangersMustResolveToPublicAddresses checks the address after the name was resolved, and before anything is sent.
func TestNamesOfStrangersMustResolveToPublicAddresses(t *testing.T) {
	port, connections := server(t)
	c := claimed(false)
	c.reach.Store(int32(reservedAddress)) // without effect
	c.cfg.EndpointHosts = []string{"localhost"}
	for _, host := range []string{"localhost", "127.0.0.1", "::ffff:127.0.0.1", "::1", "0.0.0.0", "169.254.169.254"} {
		_, err := c.dial(t.Context(), "tcp", net.JoinHostPort(host, port))
		var refused *addressError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "must have a public one") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Fatalf("%d connections were made", n)
	}
	c = claimed(true)
	conn, err := c.dial(t.Context(), "tcp", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	for _, host := range []string{"0.0.0.0", "10.0.0.5", "169.254.169.254"} {
		if _, err := c.dial(t.Context(), "tcp", net.JoinHostPort(host, port)); !errors.As(err, new(*addressError)) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRequestsToHostsOfStrangersAreLimited(t *testing.T) {
	now := time.Now()
	fails := false
	l := newHostLimits(roundTrip(func(*http.Request) (*http.Response, error) {
		if fails {
			return nil, io.ErrUnexpectedEOF
		}
		return &http.Response{Body: http.NoBody}, nil
	}), func() time.Time { return now })
	ctx := context.WithoutCancel(t.Context())
	ask := func(host string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		return l.RoundTrip(req)
	}
	want := func(host string, want error) {
		t.Helper()
		resp, err := ask(host)
		if !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", host, err, want)
		}
		if err == nil {
			_ = resp.Body.Close()
			_ = resp.Body.Close() // counts once
		}
	}
	for i := range hostBurst {
		fails = i%2 == 0
		want([]string{"a.test", "A.test:444", "a.test."}[i%3], map[bool]error{true: io.ErrUnexpectedEOF}[fails])
	}
	fails = false
	want("a.test", errHostFetches)
	want("b.test", nil)
	now = now.Add(hostEvery)
	want("a.test", nil)
	want("a.test", errHostFetches)
	forKept := func(f func()) {
		defer func(before context.Context) { ctx = before }(ctx)
		ctx = context.WithValue(ctx, keptKey{}, true)
		f()
	}
	forKept(func() { want("a.test", nil) }) // its document that the broker has is not stopped by others
	now = now.Add(time.Minute)
	var open []io.Closer
	for i := range maxFetches - keptFetches {
		if i >= maxHostFetches {
			want(fmt.Sprintf("h%d.test", i/maxHostFetches-1), errHostFetches)
		}
		resp, err := ask(fmt.Sprintf("h%d.test", i/maxHostFetches))
		if err != nil {
			t.Fatal(i, err)
		}
		open = append(open, resp.Body)
	}
	want("b.test", errFetches)
	forKept(func() { want("h0.test", nil) })
	_ = open[0].Close()
	want("b.test", nil)
	for _, body := range open {
		_ = body.Close()
	}
	if l.running != 0 {
		t.Errorf("%d requests are left", l.running)
	}
}

// TestConnectionsToAddressesOfStrangersAreLimited has strangers whose many names have one address, or one name many.
func TestConnectionsToAddressesOfStrangersAreLimited(t *testing.T) {
	now := time.Now()
	l := newHostLimits(nil, func() time.Time { return now })
	want := func(address string, attempt int, want error) {
		t.Helper()
		if err := l.connect(netip.MustParseAddr(address), attempt); !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", address, err, want)
		}
	}
	for i := range addressBurst {
		want([]string{"8.8.8.8", "::ffff:8.8.8.8"}[i%2], 1, nil)
		want(fmt.Sprintf("2a00:1450::%d", i), 1, nil)
	}
	want("8.8.8.8", 1, errAddress)
	want("2a00:1450::ffff:1", 1, errAddress)
	want("8.8.8.9", 1, nil)
	want("2a00:1450:0:1::1", maxAttempts, nil)
	want("2a00:1450:0:1::1", maxAttempts+1, errAttempts)
	now = now.Add(addressEvery)
	want("8.8.8.8", 1, nil)
	want("8.8.8.8", 1, errAddress)

	port, _ := server(t)
	c, dialed := claimed(true), 0
	c.limits.now = l.now
	for range addressBurst + 10 {
		conn, err := c.dial(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			dialed++
			_ = conn.Close()
		} else if !errors.Is(err, errAddress) {
			t.Fatal(err)
		}
	}
	if dialed != addressBurst {
		t.Errorf("%d connections were made", dialed)
	}
}

// dns returns a resolver that asks a server for the addresses of a name. It is asked once for each lookup.
func dns(t *testing.T, addresses func(name string) []string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1024)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if err := message.Unpack(buffer[:n]); err != nil {
				continue
			}
			question := message.Questions[0]
			message.Response, message.RecursionAvailable, message.Additionals = true, true, nil
			if question.Type == dnsmessage.TypeA {
				for _, text := range addresses(strings.TrimSuffix(question.Name.String(), ".")) {
					message.Answers = append(message.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: netip.MustParseAddr(text).As4()},
					})
				}
			}
			answer, err := message.Pack()
			if err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// TestKeysAtANameWithAPrivateAddress has a client whose key set is at a name that resolves to a private address. The client, not the
// network, is at fault.
func TestKeysAtANameWithAPrivateAddress(t *testing.T) {
	a := NewAssertions(AssertionsConfig{Logger: slog.New(slog.DiscardHandler)})
	defer a.Close()
	a.claimed.resolver = dns(t, func(string) []string { return []string{"10.0.0.1"} })
	_, err := a.Verify(t.Context(), "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.e30.AAAA", broker.AssertionKeys{JWKSURI: "https://app.test/jwks", Untrusted: true})
	if !errors.Is(err, broker.ErrAssertion) || errors.Is(err, broker.ErrUpstreamUnavailable) {
		t.Errorf("keys at a private address: %v", err)
	}
}

// TestNameWithManyAddresses has a name that a stranger made to scan a network by one request.
func TestNameWithManyAddresses(t *testing.T) {
	port, connections := server(t)
	c := claimed(true)
	c.resolver = dns(t, func(string) []string { return []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} })
	if _, err := c.dial(t.Context(), "tcp", "app.test:"+port); !errors.As(err, new(*addressError)) {
		t.Errorf("private addresses: %v", err)
	}
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprintf("127.0.1.%d", i)) // where nothing listens
	}
	c.resolver = dns(t, func(string) []string { return many })
	if _, err := c.dial(t.Context(), "tcp", "app.test:"+port); err == nil {
		t.Error("a connection was made")
	}
	tried := 0
	for _, address := range many {
		if _, found := c.limits.addresses.Get(netip.PrefixFrom(netip.MustParseAddr(address), 32)); found {
			tried++
		}
	}
	if tried != maxAttempts || connections.Load() != 0 {
		t.Errorf("%d of %d addresses were tried", tried, len(many))
	}
}
