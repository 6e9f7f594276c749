package httpapi_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"tokenbroker/api"
	"tokenbroker/api/internal/apitest"
)

// clientOf sends a sign-in from peer and returns the client's address as the broker sees it.
func clientOf(t *testing.T, h http.Handler, f *apitest.Fake, peer string, forwarded ...string) string {
	t.Helper()
	r := httptest.NewRequest("POST", apitest.Own+"/auth/sign-in/", strings.NewReader(`{"username":"a","password":"b"}`))
	r.RemoteAddr = peer
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Real-Ip", "10.1.1.1")
	r.Header.Set("Forwarded", "for=10.1.1.2")
	r.Header["X-Forwarded-For"] = forwarded
	if got := apitest.Serve(h, r).StatusCode; got != http.StatusOK {
		t.Fatalf("status %d", got)
	}
	return f.Req.Addr
}

// TestTrustedProxiesNameTheClient: each row has the lines of the header.
func TestTrustedProxiesNameTheClient(t *testing.T) {
	const proxy = "192.0.2.1"
	for name, tt := range map[string]struct {
		forwarded []string
		want      string
	}{
		"no header":                                  {nil, proxy},
		"an address":                                 {[]string{"203.0.113.9"}, "203.0.113.9"},
		"an address and a port":                      {[]string{"203.0.113.9:4711"}, "203.0.113.9"},
		"IPv6":                                       {[]string{"2001:db8::1"}, "2001:db8::1"},
		"IPv6 in capitals":                           {[]string{"2001:DB8:0::1"}, "2001:db8::1"},
		"IPv6 in brackets":                           {[]string{"[2001:db8::1]"}, "2001:db8::1"},
		"IPv6 in brackets and a port":                {[]string{"[2001:db8::1]:443"}, "2001:db8::1"},
		"IPv4 in IPv6":                               {[]string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		"IPv4 in IPv6 in brackets and a port":        {[]string{"[::ffff:203.0.113.9]:443"}, "203.0.113.9"},
		"the nearest of two":                         {[]string{"10.9.9.9, 203.0.113.9:1"}, "203.0.113.9"},
		"spaces and tabs":                            {[]string{"10.9.9.9 ,\t 203.0.113.9 "}, "203.0.113.9"},
		"in two lines":                               {[]string{"10.9.9.9", "203.0.113.9:2"}, "203.0.113.9"},
		"an empty last line":                         {[]string{"203.0.113.9", ""}, "203.0.113.9"},
		"behind another trusted proxy":               {[]string{"203.0.113.9:7, 192.0.2.7:80"}, "203.0.113.9"},
		"behind trusted proxies in two lines":        {[]string{"203.0.113.9", "192.0.2.7, [::ffff:192.0.2.8]:80"}, "203.0.113.9"},
		"a trusted proxy is the client":              {[]string{"192.0.2.7:80"}, "192.0.2.7"},
		"nonsense left of the client":                {[]string{"<script>, 203.0.113.9"}, "203.0.113.9"},
		"unknown":                                    {[]string{"203.0.113.9, unknown"}, proxy},
		"an obfuscated identifier":                   {[]string{"203.0.113.9, _hidden"}, proxy},
		"an empty last entry":                        {[]string{"203.0.113.9, "}, proxy},
		"unknown behind another trusted proxy":       {[]string{"203.0.113.9, unknown, 192.0.2.7"}, "192.0.2.7"},
		"unknown behind another trusted proxy, port": {[]string{"203.0.113.9", "unknown, 192.0.2.7:80"}, "192.0.2.7"},
		"a zone":                       {[]string{"fe80::1%eth0"}, proxy},
		"a zone in brackets":           {[]string{"[fe80::1%25eth0]:443"}, proxy},
		"an invalid port":              {[]string{"203.0.113.9:x"}, proxy},
		"a port out of range":          {[]string{"203.0.113.9:65536"}, proxy},
		"a bracket that is not closed": {[]string{"[2001:db8::1"}, proxy},
		"IPv4 in brackets":             {[]string{"[203.0.113.9]"}, proxy},
		"IPv4 in brackets and a port":  {[]string{"[203.0.113.9]:80"}, proxy},
		"leading zeros":                {[]string{"203.0.113.009"}, proxy},
		"quoted":                       {[]string{`"203.0.113.9"`}, proxy},
		"a name":                       {[]string{"client.example.com"}, proxy},
		"a network":                    {[]string{"203.0.113.0/24"}, proxy},
	} {
		t.Run(name, func(t *testing.T) {
			f := &apitest.Fake{}
			h := apitest.New(t, f, func(c *api.Config) { c.TrustedProxies = []string{"192.0.2.0/24"} })
			if got := clientOf(t, h, f, proxy+":1234", tt.forwarded...); got != tt.want {
				t.Errorf("the client is %q, want %q", got, tt.want)
			}
			h = apitest.New(t, f)
			if got := clientOf(t, h, f, proxy+":1234", tt.forwarded...); got != proxy {
				t.Errorf("without a trusted proxy the client is %q, want the peer", got)
			}
		})
	}
}

// TestUnreadableForwardedEntriesAreReported: one line for each proxy, and a count of all.
func TestUnreadableForwardedEntriesAreReported(t *testing.T) {
	var log bytes.Buffer
	f := &apitest.Fake{}
	cfg := apitest.Config(f)
	cfg.TrustedProxies, cfg.Logger = []string{"192.0.0.0/16"}, slog.New(slog.NewTextHandler(&log, nil))
	public, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	lines := func() int { return strings.Count(log.String(), "level=WARN") }
	clientOf(t, public, f, "192.0.2.1:1", "203.0.113.9")
	clientOf(t, public, f, "198.51.100.1:1", "unknown") // no proxy
	if lines() != 0 || public.UnreadableForwarded() != 0 {
		t.Fatalf("%d counted, log:\n%s", public.UnreadableForwarded(), &log)
	}
	for range 3 {
		clientOf(t, public, f, "192.0.2.1:1", "203.0.113.9, unknown")
		clientOf(t, public, f, "192.0.2.2:1", strings.Repeat("x", 10_000))
	}
	if lines() != 2 || public.UnreadableForwarded() != 6 {
		t.Errorf("%d lines, %d counted, want 2 and 6:\n%s", lines(), public.UnreadableForwarded(), &log)
	}
	for _, part := range []string{"proxy=192.0.2.1", "entry=unknown", "proxy=192.0.2.2"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s", part)
		}
	}
	if strings.Contains(log.String(), strings.Repeat("x", 65)) {
		t.Error("the log repeats a long entry")
	}
}

// FuzzForwardedFor: the header of a peer that is not trusted changes nothing. With a trusted one
// the client's address is always an address, and what a client wrote to the left of the address
// that its proxy wrote changes nothing.
func FuzzForwardedFor(f *testing.F) {
	for _, seed := range []string{"", "203.0.113.9", "203.0.113.9:1", "[2001:db8::1]:443", "fe80::1%eth0", "unknown, _x", ",,", "192.0.2.7, 192.0.2.8", "[", "]", ":"} {
		f.Add(seed, seed)
	}
	trusted, fakes := make(map[string]http.Handler), &apitest.Fake{}
	for _, proxies := range []string{"", "192.0.2.0/24"} {
		cfg := apitest.Config(fakes)
		if proxies != "" {
			cfg.TrustedProxies = []string{proxies}
		}
		h, err := api.New(cfg)
		if err != nil {
			f.Fatal(err)
		}
		trusted[proxies] = h
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		const peer = "192.0.2.1"
		if got := clientOf(t, trusted[""], fakes, peer+":1", one, two); got != peer {
			t.Errorf("without a trusted proxy: %q", got)
		}
		if got := clientOf(t, trusted["192.0.2.0/24"], fakes, "198.51.100.1:1", one, two); got != "198.51.100.1" {
			t.Errorf("a peer that is not trusted: %q", got)
		}
		got := clientOf(t, trusted["192.0.2.0/24"], fakes, peer+":1", one, two)
		if addr, err := netip.ParseAddr(got); err != nil || addr.Zone() != "" || addr.Is4In6() {
			t.Errorf("a trusted peer: %q, %v", got, err)
		}
		for _, last := range []string{"203.0.113.9", "203.0.113.9:4711"} {
			if got := clientOf(t, trusted["192.0.2.0/24"], fakes, peer+":1", one, fmt.Sprintf("%s, %s", two, last)); got != "203.0.113.9" {
				t.Errorf("%q and %q before the client's address: %q", one, two, got)
			}
		}
	})
}
