package httpapi_test

import (
	"testing"

	"tokenbroker/api/httpapi"
)

func TestCookieDefaultsAndPrefix(t *testing.T) {
	for _, tt := range []struct {
		cookie     httpapi.Cookie
		name, path string
	}{
		{httpapi.Cookie{}, "__Host-refresh_cookie", "/"},
		{httpapi.Cookie{Path: "/auth"}, "__Secure-refresh_cookie", "/auth"},
		{httpapi.Cookie{Insecure: true}, "refresh_cookie", "/auth"},
		{httpapi.Cookie{Insecure: true, Path: "/"}, "refresh_cookie", "/"},
		{httpapi.Cookie{Name: "rc"}, "__Host-rc", "/"},
	} {
		c := tt.cookie
		if err := c.Validate(); err != nil || c.PrefixedName() != tt.name || c.Path != tt.path {
			t.Errorf("%+v: name %q, path %q, %v", tt.cookie, c.PrefixedName(), c.Path, err)
		}
	}
}

func TestCookieChecks(t *testing.T) {
	for _, c := range []httpapi.Cookie{{Name: "a b"}, {Name: "__Host-x"}, {Name: "__host-x"}, {Name: "a;b"}, {Path: "/app"}, {Path: "auth"}} {
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	empty := httpapi.Cookie{}
	if empty.CheckName() == nil || empty.CheckPath() == nil {
		t.Error("an empty name or path is accepted without the defaults")
	}
}
