package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/origin"
)

// listeners checks public_url, data_dir, listen, tls, trusted_proxies and connections.
func (c *checker) listeners() {
	cfg := c.cfg
	public := c.publicURL()
	c.required("data_dir", cfg.DataDir != "", "a directory for the store and the keys, such as /var/lib/tokenbroker")
	if cfg.DataDir != "" && !filepath.IsAbs(cfg.DataDir) {
		c.add("data_dir", "is not an absolute path", "it would depend on the working directory: write it in full, such as /var/lib/tokenbroker")
	}
	c.address("listen", cfg.Listen)
	for _, key := range []string{"admin.listen", "nats.listen"} {
		address, _ := valueAt(cfg, strings.Split(key, ".")).(string)
		if _, port, err := net.SplitHostPort(address); err == nil && port != "0" && address == cfg.Listen {
			c.add(key, "is the address of listen", "each listener needs its own port")
		}
	}
	if cfg.Admin.Listen != "" && cfg.Admin.Listen == cfg.NATS.Listen && !strings.HasSuffix(cfg.NATS.Listen, ":0") {
		c.add("nats.listen", "is the address of admin.listen", "each listener needs its own port")
	}

	host := ""
	if public != nil && public.Scheme == "https" {
		host = public.Hostname()
	}
	c.keyPair("tls.cert_file", cfg.TLS.CertFile, "tls.key_file", cfg.TLS.KeyFile, host)
	ownTLS := cfg.TLS.CertFile != "" || cfg.TLS.KeyFile != ""
	if public != nil && public.Scheme == "http" && ownTLS {
		c.add("tls", "a certificate is given, but public_url is http", "make public_url https, or remove the tls files")
	}
	if public != nil && public.Scheme == "https" && !ownTLS && len(cfg.TrustedProxies) == 0 {
		c.add("trusted_proxies", "is empty, public_url is https, and the broker itself does not terminate TLS: all clients would have the proxy's address, and share its limits",
			"behind a proxy: name its address, such as trusted_proxies: [127.0.0.1]; without one: set tls.cert_file and tls.key_file")
	}
	for _, proxy := range cfg.TrustedProxies {
		if _, err := httpapi.ParseProxies([]string{proxy}); err != nil {
			c.add("trusted_proxies", err.Error(), "")
		}
	}
	c.connections()
}

// leastConnections is the smallest limit that connections.max accepts.
const leastConnections = 16

func (c *checker) connections() {
	if n := c.cfg.Connections.Max; c.given("connections.max") && n < leastConnections {
		c.add("connections.max", fmt.Sprintf("is %d, below %d", n, leastConnections), "leave it out for the default")
	}
	if c.given("connections.per_address") && c.cfg.Connections.PerAddress == 0 {
		c.add("connections.per_address", "is 0: no address could connect", "leave it out for the default; name proxies in trusted_proxies")
	}
}

func (c *checker) required(key string, given bool, hint string) {
	if !given {
		c.add(key, "is missing", hint)
	}
}

// publicURL returns the parsed public_url, or nil if it is not valid.
func (c *checker) publicURL() *url.URL {
	const key, hint = "public_url", "scheme and host, such as https://auth.example.com"
	raw := c.cfg.PublicURL
	if raw == "" {
		c.add(key, "is missing", "the broker's own URL: "+hint)
		return nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || strings.ContainsAny(u.Host, "*,"):
		c.add(key, "is not an http or https URL", hint)
	case u.User != nil:
		c.add(key, "has a user or a password in it", hint)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(raw, "#"):
		c.add(key, "has a query or a fragment", hint)
	case u.Path == "/":
		c.add(key, "ends in a slash", "the issuer is compared letter by letter: write it without the slash")
	case u.Path != "":
		c.add(key, "has a path", "the broker serves at the root of its host: "+hint)
	case origin.Check(u) != nil:
		c.add(key, origin.Check(u).Error(), hint)
	case origin.Of(u) != raw:
		c.add(key, "is not written as browsers write it", "lower case, no default port: "+origin.Of(u))
	case u.Scheme == "http" && !origin.LoopbackHost(u.Hostname()):
		c.add(key, "is http on a host that is not loopback", "use https; http is for localhost, 127.0.0.0/8 and ::1")
	default:
		return u
	}
	return nil
}

// address checks the host:port of a listener and reports whether it is valid.
func (c *checker) address(key, address string) bool {
	if address == "" {
		c.add(key, "is missing", "host:port, such as 127.0.0.1:8080")
		return false
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || !validPort(port, false) || !validHost(host) {
		c.add(key, "is not host:port", "such as 127.0.0.1:8080, [::1]:8080, or :8080 for all addresses")
		return false
	}
	return true
}

// listenName is a host name, also a container's, which may begin with a digit.
var listenName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?\.?$`)

// numericEnd ends what is written as an IPv4 address: without being one, it has no address.
var numericEnd = regexp.MustCompile(`(^|\.)[0-9]+\.?$`)

// validHost reports whether a listener can have host, which is empty for all addresses.
func validHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return host == "" || err == nil || listenName.MatchString(host) && !numericEnd.MatchString(host)
}

func validPort(port string, none bool) bool {
	if port == "" {
		return none
	}
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return host
}

// keyPair checks that both files are set or neither, and that they are a certificate and its key that
// [LoadCertificate] accepts.
func (c *checker) keyPair(certKey, cert, keyKey, key, host string) {
	switch {
	case cert == "" && key == "":
	case key == "":
		c.add(keyKey, "is missing: "+certKey+" is given", "set both or neither")
	case cert == "":
		c.add(certKey, "is missing: "+keyKey+" is given", "set both or neither")
	default:
		_, _, certOK := c.readable(certKey, cert)
		_, mode, keyOK := c.readable(keyKey, key)
		if !certOK || !keyOK {
			return
		}
		c.openSecret(keyKey, key, mode)
		if _, err := LoadCertificate(cert, key, host); err != nil {
			c.add(certKey, err.Error(), "it and "+keyKey+" are in PEM, the certificate first in its file; it is for the name that clients use; renew it in time: SIGHUP loads it")
		}
	}
}

// LoadCertificate reads the certificate and the private key of a server. The certificate has to be
// valid now and, unless host is empty, for host.
func LoadCertificate(certFile, keyFile, host string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("the certificate does not load with its key: %s", strings.TrimPrefix(err.Error(), "tls: "))
	}
	if err := CheckCertificate(pair.Leaf, host, time.Now()); err != nil {
		return nil, err
	}
	return &pair, nil
}

// CheckCertificate returns an error unless clients accept the certificate at that time: unless it is valid
// then and, if host is not empty, for host.
func CheckCertificate(leaf *x509.Certificate, host string, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	case host == "":
		return nil
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return fmt.Errorf("the certificate is not for %s: %w", host, err)
	}
	return nil
}
