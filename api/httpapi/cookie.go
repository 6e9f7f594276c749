package httpapi

import (
	"fmt"
	"strings"
)

// AuthPath is the path below which the browser's endpoints are.
const AuthPath = "/auth"

// AuthorizePath and LogoutPath are the authorization and the log-out endpoint. These paths and those below them are pages.
const (
	AuthorizePath = AuthPath + "/authorize"
	LogoutPath    = AuthPath + "/logout"
)

// The prefixes that bind a cookie's name to attributes (RFC 6265bis §4.1.3). Only HostPrefix
// keeps another host of the same domain from setting the cookie.
const (
	HostPrefix   = "__Host-"
	SecurePrefix = "__Secure-"
)

// DefaultCookieName is the name of the refresh cookie, without a prefix, where none is configured.
const DefaultCookieName = "refresh_cookie"

// DefaultCookiePath returns the path of the refresh cookie where none is configured.
func DefaultCookiePath(insecure bool) string {
	if insecure {
		return AuthPath
	}
	return "/"
}

// Cookie configures the refresh cookie.
type Cookie struct {
	// Name is the cookie's name without a prefix. If empty, [DefaultCookieName] is used.
	Name string
	// Path is / or /auth. If empty, it is that of [DefaultCookiePath]. With /auth, any host of the
	// same domain can plant a cookie.
	Path string
	// Insecure leaves out the attribute Secure and the prefix of the name, for plain HTTP in
	// development. It MUST NOT be set where users sign in from another machine.
	Insecure bool
}

// Validate fills the defaults and returns an error for a name or a path that cannot work.
func (c *Cookie) Validate() error {
	if c.Name == "" {
		c.Name = DefaultCookieName
	}
	if c.Path == "" {
		c.Path = DefaultCookiePath(c.Insecure)
	}
	if err := c.CheckName(); err != nil {
		return err
	}
	return c.CheckPath()
}

// CheckName returns an error unless Name consists of letters, digits, ., - and _ and leaves the
// prefix to [Cookie.PrefixedName].
func (c *Cookie) CheckName() error {
	if c.Name == "" || strings.HasPrefix(c.Name, "__") || strings.ContainsFunc(c.Name, notInToken) {
		return fmt.Errorf("cookie name %q: want letters, digits, ., - and _, without a __ prefix", c.Name)
	}
	return nil
}

// CheckPath returns an error unless a browser sends a cookie of that Path to /auth.
func (c *Cookie) CheckPath() error {
	switch c.Path {
	case "/", AuthPath:
		return nil
	}
	return fmt.Errorf("cookie path %q: a browser would not send it to /auth; want /auth or /", c.Path)
}

// PrefixedName returns the name that browsers see: Name with the strongest prefix that Path and
// Insecure allow.
func (c *Cookie) PrefixedName() string {
	switch {
	case c.Insecure:
		return c.Name
	case c.Path == "/":
		return HostPrefix + c.Name
	}
	return SecurePrefix + c.Name
}

// notInToken reports whether r is other than the characters that cookie names and request ids
// consist of here, which are a part of RFC 9110's token.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
}
