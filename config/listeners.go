package config

import (
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"tokenbroker/api/origin"
)

// listeners checks where the broker is reached: public_url, data_dir, listen, tls and
// trusted_proxies.
func (c *checker) listeners() {
	cfg := c.cfg
	public := c.publicURL()
	c.required("data_dir", cfg.DataDir != "", "a directory for the store and the keys, as /var/lib/tokenbroker")
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

	c.keyPair("tls.cert_file", cfg.TLS.CertFile, "tls.key_file", cfg.TLS.KeyFile)
	ownTLS := cfg.TLS.CertFile != "" || cfg.TLS.KeyFile != ""
	if public != nil && public.Scheme == "http" && ownTLS {
		c.add("tls", "a certificate is given, but public_url is http", "make public_url https, or remove the tls files")
	}
	if public != nil && public.Scheme == "https" && !ownTLS && !isLoopback(hostOf(cfg.Listen)) && len(cfg.TrustedProxies) == 0 {
		c.add("trusted_proxies", "public_url is https, and nothing here ends TLS", "behind a proxy: name its address in trusted_proxies; without one: give tls.cert_file and tls.key_file")
	}
	c.proxies()
}

func (c *checker) required(key string, given bool, hint string) {
	if !given {
		c.add(key, "is missing", hint)
	}
}

// publicURL is the parsed public_url, nil if it is no good.
func (c *checker) publicURL() *url.URL {
	const key, hint = "public_url", "scheme and host, as https://auth.example.com"
	raw := c.cfg.PublicURL
	if raw == "" {
		c.add(key, "is missing", "the broker's own URL: "+hint)
		return nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || strings.ContainsAny(u.Host, "*,"):
		c.add(key, "is no http or https URL", hint)
	case u.User != nil:
		c.add(key, "has a user or a password in it", hint)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(raw, "#"):
		c.add(key, "has a query or a fragment", hint)
	case u.Path == "/":
		c.add(key, "ends in a slash", "the issuer is compared to the letter: write it without")
	case u.Path != "":
		c.add(key, "has a path", "the broker serves at the root of its host: "+hint)
	case origin.Of(u) != raw || !validPort(u.Port(), true):
		c.add(key, "is not written as browsers do", "lower case, no default port: "+origin.Of(u))
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		c.add(key, "is http on a host that is not loopback", "use https; http is for localhost, 127.0.0.0/8 and ::1")
	default:
		return u
	}
	return nil
}

// address checks a listener's host:port.
func (c *checker) address(key, address string) bool {
	if address == "" {
		c.add(key, "is missing", "host:port, as 127.0.0.1:8080")
		return false
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil || !validPort(port, false) {
		c.add(key, "is no host:port", "as 127.0.0.1:8080, [::1]:8080, or :8080 for all addresses")
		return false
	}
	return true
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

func isLoopback(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	return host == "localhost"
}

// keyPair checks that both files are given or none, and that they belong together.
func (c *checker) keyPair(certKey, cert, keyKey, key string) {
	switch {
	case cert == "" && key == "":
	case key == "":
		c.add(keyKey, "is missing: "+certKey+" is given", "give both or none")
	case cert == "":
		c.add(certKey, "is missing: "+keyKey+" is given", "give both or none")
	default:
		_, certErr := readFile(cert, maxConfigFile)
		_, keyErr := readFile(key, maxConfigFile)
		if certErr != nil {
			c.add(certKey, certErr.Error(), "")
		}
		if keyErr != nil {
			c.add(keyKey, keyErr.Error(), "")
		}
		if certErr != nil || keyErr != nil {
			return
		}
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			c.add(certKey, "does not load with "+keyKey+": "+strings.TrimPrefix(err.Error(), "tls: "), "both in PEM, the certificate first in its file")
		}
	}
}

func (c *checker) proxies() {
	for _, proxy := range c.cfg.TrustedProxies {
		prefix, err := netip.ParsePrefix(proxy)
		if addr, addrErr := netip.ParseAddr(proxy); addrErr == nil && addr.Zone() == "" {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil:
			c.add("trusted_proxies", strconv.Quote(proxy)+" is no address or CIDR", "as 10.0.0.5 or 10.0.0.0/8")
		case prefix.Bits() == 0:
			c.add("trusted_proxies", proxy+" is everybody", "anybody could claim any address: name the proxies' network")
		}
	}
}
