package config

import (
	"crypto/x509"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

const minServicePassword = 16

func (c *checker) nats() {
	n := c.cfg.NATS
	for _, s := range []struct {
		key    string
		secret Secret
	}{{"nats.password", n.Password}, {"nats.service_password", n.ServicePassword}} {
		c.published(s.key, s.secret)
	}
	if n.URL != "" {
		c.natsElsewhere(n)
		return
	}
	c.natsEmbedded(n)
}

// natsElsewhere checks the connection to a server by URL.
func (c *checker) natsElsewhere(n NATS) {
	c.natsURL(n.URL)
	for _, key := range []string{"nats.listen", "nats.service_user", "nats.service_password", "nats.tls_cert_file", "nats.tls_key_file"} {
		if c.given(key) && !isEmpty(valueAt(c.cfg, strings.Split(key, "."))) {
			c.add(key, "is of the embedded server, but nats.url names another one", "remove one of both")
		}
	}
	c.userAndPassword("nats.user", n.User, "nats.password", n.Password)
	if n.CredentialsFile != "" {
		if n.User != "" || n.Password.Set() {
			c.add("nats.credentials_file", "is given beside user and password", "keep one way to sign in")
		}
		if _, mode, ok := c.readable("nats.credentials_file", n.CredentialsFile); ok {
			c.openSecret("nats.credentials_file", n.CredentialsFile, mode)
		}
	}
	if n.CAFile != "" {
		if pem, _, ok := c.readable("nats.ca_file", n.CAFile); ok && !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
			c.add("nats.ca_file", "holds no certificate in PEM", "")
		}
	}
}

func (c *checker) natsURL(urls string) {
	const key, hint = "nats.url", "as nats://nats.internal:4222 or tls://nats.internal:4222"
	for raw := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(raw))
		switch {
		case err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Hostname() == "" || !validPort(u.Port(), true):
			c.add(key, "is no NATS URL", hint)
		case u.User != nil:
			c.add(key, "has a user, a password or a token in it", "give nats.user and nats.password (or password_file), or credentials_file")
		case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			c.add(key, "has more than scheme, host and port", hint)
		}
	}
}

// natsEmbedded checks the broker's own server.
func (c *checker) natsEmbedded(n NATS) {
	for _, key := range []string{"nats.user", "nats.password", "nats.credentials_file", "nats.ca_file"} {
		if c.given(key) && !isEmpty(valueAt(c.cfg, strings.Split(key, "."))) {
			c.add(key, "is for a server elsewhere, but nats.url is missing", "give nats.url; for the embedded server: service_user and service_password")
		}
	}
	valid := c.address("nats.listen", n.Listen)
	if n.ServicePassword.Set() && utf8.RuneCountInString(n.ServicePassword.Reveal()) < minServicePassword {
		c.add("nats.service_password", "is shorter than 16 characters", "make one by `openssl rand -base64 24`")
	}
	if valid && !isLoopback(hostOf(n.Listen)) {
		const hint = "nats.listen is reached from elsewhere: it needs service_user, service_password, tls_cert_file and tls_key_file"
		c.required("nats.service_user", n.ServiceUser != "", hint)
		c.required("nats.service_password", n.ServicePassword.Set(), hint)
		c.required("nats.tls_cert_file", n.TLSCertFile != "", hint)
		c.required("nats.tls_key_file", n.TLSKeyFile != "", hint)
		if n.TLSCertFile != "" && n.TLSKeyFile != "" {
			c.keyPair("nats.tls_cert_file", n.TLSCertFile, "nats.tls_key_file", n.TLSKeyFile, "")
		}
		return
	}
	c.userAndPassword("nats.service_user", n.ServiceUser, "nats.service_password", n.ServicePassword)
	c.keyPair("nats.tls_cert_file", n.TLSCertFile, "nats.tls_key_file", n.TLSKeyFile, "")
}

func (c *checker) userAndPassword(userKey, user, passwordKey string, password Secret) {
	switch {
	case user != "" && !password.Set():
		c.add(passwordKey, "is missing: "+userKey+" is given", "give both or none")
	case user == "" && password.Set():
		c.add(userKey, "is missing: "+passwordKey+" is given", "give both or none")
	}
}

// readable reads a file that a key names.
func (c *checker) readable(key, name string) (string, fs.FileMode, bool) {
	content, mode, err := readFile(name, maxConfigFile)
	if err != nil {
		c.add(key, err.Error(), "")
		return "", 0, false
	}
	return content, mode, true
}

// isEmpty tells whether a value is given as nothing: "", [], no secret.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case string:
		return v == ""
	case Secret:
		return v.IsZero()
	case []string:
		return len(v) == 0
	}
	return false
}
