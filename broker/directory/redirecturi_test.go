package directory_test

import (
	"testing"

	"tokenbroker/broker/directory"
)

// The registered redirect URIs of the tests below.
var registered = []string{
	"https://app.example.com/callback",
	"https://app.example.com/cb?tenant=a",
	"http://127.0.0.1/callback",
	"http://localhost/callback",
	"http://[::1]/callback",
	"http://127.0.0.1:8084/fixed",
	"http://localhost",
	"com.example.app:/callback",
}

func TestRFC8252Section73AnyPortOnLoopback(t *testing.T) {
	for _, sent := range []string{
		"http://127.0.0.1:1/callback", "http://127.0.0.1:51004/callback", "http://localhost:65535/callback", "http://[::1]:8080/callback",
		"http://127.0.0.1/callback", "http://localhost/callback", "http://[::1]/callback", "http://localhost:3000",
	} {
		if !directory.MatchRedirectURI(registered, sent) {
			t.Errorf("%s is refused", sent)
		}
	}
}

func TestRFC9700Section21ExactRedirectURIs(t *testing.T) {
	for _, sent := range registered {
		if !directory.MatchRedirectURI(registered, sent) {
			t.Errorf("%s is refused", sent)
		}
	}
	for name, sent := range map[string]string{
		"empty":                      "",
		"case of the path":           "https://app.example.com/Callback",
		"case of the host":           "https://APP.example.com/callback",
		"case of the scheme":         "HTTPS://app.example.com/callback",
		"case of localhost":          "http://LOCALHOST:8080/callback",
		"case of a private scheme":   "com.example.App:/callback",
		"a port":                     "https://app.example.com:8443/callback",
		"the default port":           "https://app.example.com:443/callback",
		"http instead of https":      "http://app.example.com/callback",
		"a path suffix":              "https://app.example.com/callback/x",
		"a slash at the end":         "https://app.example.com/callback/",
		"a path prefix":              "https://app.example.com/",
		"no path":                    "https://app.example.com",
		"dot segments":               "https://app.example.com/callback/../evil",
		"a dot segment":              "https://app.example.com/./callback",
		"userinfo":                   "https://user@app.example.com/callback",
		"userinfo of another host":   "https://app.example.com@evil.example/callback",
		"a fragment":                 "https://app.example.com/callback#x",
		"an empty fragment":          "https://app.example.com/callback#",
		"a query":                    "https://app.example.com/callback?x=1",
		"an empty query":             "https://app.example.com/callback?",
		"a missing query":            "https://app.example.com/cb",
		"another query":              "https://app.example.com/cb?tenant=b",
		"a longer query":             "https://app.example.com/cb?tenant=a&x=1",
		"an escaped letter":          "https://app.example.com/callb%61ck",
		"an escaped slash":           "https://app.example.com%2Fcallback",
		"a backslash":                `https://app.example.com\callback`,
		"a space":                    "https://app.example.com/callback ",
		"a line end":                 "https://app.example.com/callback\n",
		"a NUL":                      "https://app.example.com/callback\x00",
		"a wildcard":                 "https://*.example.com/callback",
		"a trailing dot":             "https://app.example.com./callback",
		"a host suffix":              "https://app.example.com.evil.example/callback",
		"a host prefix":              "https://evil-app.example.com/callback",
		"a subdomain":                "https://x.app.example.com/callback",
		"two slashes":                "https://app.example.com//callback",
		"no scheme":                  "//app.example.com/callback",
		"two URIs":                   "https://app.example.com/callback https://app.example.com/callback",
		"a loopback host suffix":     "http://127.0.0.1.evil/callback",
		"a host suffix and a port":   "http://127.0.0.1.evil:80/callback",
		"a localhost suffix":         "http://localhost.evil:80/callback",
		"a port that is a password":  "http://127.0.0.1:80@evil.example/callback",
		"userinfo before loopback":   "http://x@127.0.0.1:80/callback",
		"https on loopback":          "https://127.0.0.1:8080/callback",
		"another loopback address":   "http://127.0.0.2:8080/callback",
		"a short loopback address":   "http://127.1:8080/callback",
		"a decimal loopback address": "http://2130706433:8080/callback",
		"an address with zeros":      "http://127.0.0.01:8080/callback",
		"a trailing dot of loopback": "http://127.0.0.1.:8080/callback",
		"a trailing dot, localhost":  "http://localhost.:8080/callback",
		"long IPv6":                  "http://[0:0:0:0:0:0:0:1]:8080/callback",
		"IPv4 in IPv6":               "http://[::ffff:127.0.0.1]:8080/callback",
		"an IPv6 zone":               "http://[::1%25lo]:8080/callback",
		"IPv6 without brackets":      "http://::1:8080/callback",
		"no port after the colon":    "http://127.0.0.1:/callback",
		"port 0":                     "http://127.0.0.1:0/callback",
		"port 65536":                 "http://127.0.0.1:65536/callback",
		"a port with zeros":          "http://127.0.0.1:08080/callback",
		"a signed port":              "http://127.0.0.1:+80/callback",
		"a named port":               "http://127.0.0.1:http/callback",
		"two ports":                  "http://127.0.0.1:80:80/callback",
		"another path on loopback":   "http://127.0.0.1:8080/callback/x",
		"a path before the path":     "http://127.0.0.1:8080/x/callback",
		"a query on loopback":        "http://127.0.0.1:8080/callback?x=1",
		"a fragment on loopback":     "http://127.0.0.1:8080/callback#",
		"another fixed port":         "http://127.0.0.1:8085/fixed",
		"no fixed port":              "http://127.0.0.1/fixed",
		"the fixed port elsewhere":   "http://localhost:8084/fixed",
		"a path where none is":       "http://localhost:3000/x",
		"a slash where none is":      "http://localhost:3000/",
		"a port of a private scheme": "com.example.app://host:80/callback",
	} {
		t.Run(name, func(t *testing.T) {
			if directory.MatchRedirectURI(registered, sent) {
				t.Errorf("%s is accepted", sent)
			}
		})
	}
}

// A client that registered only 127.0.0.1 gets no answer at localhost: another process may be there.
func TestLoopbackHostsAreNotEqual(t *testing.T) {
	only := []string{"http://127.0.0.1/callback"}
	for _, sent := range []string{"http://localhost/callback", "http://localhost:80/callback", "http://[::1]:80/callback"} {
		if directory.MatchRedirectURI(only, sent) {
			t.Errorf("%s is accepted", sent)
		}
	}
}

// A registered URI that merely begins like a loopback URI is never matched with another port.
func TestOnlyLoopbackHostsHaveAnyPort(t *testing.T) {
	for registered, sent := range map[string]string{
		"http://127.0.0.1.evil/cb": "http://127.0.0.1:80.evil/cb",
		"http://localhost@evil/cb": "http://localhost:80@evil/cb",
		"http://localhosted/cb":    "http://localhost:80ed/cb",
		"https://127.0.0.1/cb":     "https://127.0.0.1:80/cb",
		"https://a.example/cb":     "https://a.example:80/cb",
	} {
		if directory.MatchRedirectURI([]string{registered}, sent) {
			t.Errorf("%s is accepted for %s", sent, registered)
		}
	}
	if directory.MatchRedirectURI(nil, "") {
		t.Error("an empty URI matches no registered URI")
	}
}
