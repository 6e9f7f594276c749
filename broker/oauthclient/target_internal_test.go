package oauthclient

import "testing"

func TestRFC3986Section623EmptyPathEqualsASlash(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"https://api.test", "https://api.test/", true}, {"https://api.test:8443", "https://api.test:8443/", true},
		{"http://127.0.0.1:1?x=1", "http://127.0.0.1:1/?x=1", true}, {"https://api.test/", "https://api.test/", true}, {"urn:more", "urn:more", true},
		{"https://api.test/a", "https://api.test/a/", false}, {"https://api.test", "http://api.test/", false}, {"https://api.test", "https://api.test//", false},
		{"https://api.test", "https://api.test?x", false}, {"urn:more", "urn:more/", false}, {"com.app://x", "com.app://x/", false},
		{"https://API.test", "https://api.test/", false}, {"", "", false}, {"https://", "https:///", false}, {"https://api.test", "", false},
	} {
		if sameURI(tc.a, tc.b) != tc.same || sameURI(tc.b, tc.a) != tc.same {
			t.Errorf("%q and %q: want %v", tc.a, tc.b, tc.same)
		}
	}
}
