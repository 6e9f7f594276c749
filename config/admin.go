package config

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"tokenbroker/api/origin"
)

const (
	minAdminToken = 32
	// maxSocket is less than the 104 and 108 bytes that kernels allow.
	maxSocket = 100
)

// hostName is a name or an address as a Host header has it, without port and brackets.
var hostName = regexp.MustCompile(`^([A-Za-z0-9._-]+|[0-9A-Fa-f:.]+)$`)

func (c *checker) admin() {
	a := c.cfg.Admin
	if a.Socket != "" {
		switch {
		case !filepath.IsAbs(a.Socket):
			c.add("admin.socket", "is not an absolute path", "such as /run/tokenbroker/admin.sock")
		case len(a.Socket) > maxSocket:
			c.add("admin.socket", "is longer than 100 bytes", "unix sockets have short paths, such as /run/tokenbroker/admin.sock")
		}
	}
	if derived := filepath.Join(c.cfg.DataDir, "admin", "admin.sock"); a.Socket == "" && a.Listen == "" && filepath.IsAbs(c.cfg.DataDir) && len(derived) > maxSocket {
		c.add("admin.socket", "is "+derived+" by data_dir, longer than 100 bytes, and admin.listen is empty", "name a shorter path, such as /run/tokenbroker/admin.sock")
	}
	c.keyPair("admin.tls_cert_file", a.TLSCertFile, "admin.tls_key_file", a.TLSKeyFile, "")
	c.bearer("admin.token", a.Token)
	c.bearer("admin.metrics_token", a.MetricsToken)
	if a.MetricsToken.Set() && a.MetricsToken == a.Token {
		c.add("admin.metrics_token", "is the same as admin.token", "a scraper holds it, and must not hold the operators' token: make another one")
	}
	for _, host := range a.Hosts {
		if !hostName.MatchString(host) {
			c.add("admin.hosts", strconv.Quote(host)+" is not a host name", "names or addresses without port, such as localhost; no wildcard")
		}
	}
	if a.Listen == "" || !c.address("admin.listen", a.Listen) {
		return
	}
	if len(a.Hosts) == 0 {
		c.add("admin.hosts", "is empty, but admin.listen is given", "name the hosts that operators use, or make admin.listen empty")
	}
	if origin.LoopbackHost(hostOf(a.Listen)) {
		return
	}
	if !c.given("admin.hosts") || !a.Token.Set() {
		c.add("admin.listen", "is not loopback", "use 127.0.0.1; or set admin.hosts, admin.token (or token_file), admin.tls_cert_file and admin.tls_key_file")
	} else if a.TLSCertFile == "" && a.TLSKeyFile == "" {
		c.add("admin.tls_cert_file", "is missing, and admin.listen is not loopback: the operators' token and users' passwords would cross the network unencrypted",
			"set admin.tls_cert_file and admin.tls_key_file, or use 127.0.0.1 for admin.listen")
	}
}

// bearer checks a bearer token of the TCP listener. It may be unset.
func (c *checker) bearer(key string, token Secret) {
	if !token.Set() || c.published(key, token) {
		return
	}
	switch text := token.Reveal(); {
	case utf8.RuneCountInString(text) < minAdminToken:
		c.add(key, "is shorter than 32 characters", "make one by `openssl rand -base64 32`")
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		c.add(key, "has characters that a header cannot have", "printable ASCII without spaces")
	}
}
