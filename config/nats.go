package config

import (
	"crypto/x509"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"tokenbroker/api/origin"
	"tokenbroker/internal/private"
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
	for _, id := range c.cfg.ids(path{"nats", "services"}) {
		c.natsService(id, n)
	}
	if n.URL != "" {
		c.natsElsewhere(n)
		return
	}
	c.natsEmbedded(n)
}

// serviceID matches ids of services, each of which is a token of a NATS subject.
var serviceID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (c *checker) natsService(id string, n NATS) {
	key := "nats.services." + id
	password := n.Services[id].Password
	switch {
	case !serviceID.MatchString(id):
		c.add(key, "is not a service's id", "1 to 64 letters, digits, - and _: the service's validator.Config.Service, by default its client id")
	case id == n.ServiceUser:
		c.add(key, "is nats.service_user as well", "choose another name for the shared user, or remove it")
	case n.URL != "" && password.Set():
		c.add(key+".password", "is for the embedded server, but nats.url names another one", "remove it: the server at nats.url has its own users")
	case n.URL == "" && !password.Set():
		c.add(key+".password", "is missing", "make one by `openssl rand -base64 24`, and set it by password or password_file")
	case password.Set():
		c.natsPassword(key+".password", password)
	}
}

// natsPassword checks a password of the embedded server.
func (c *checker) natsPassword(key string, password Secret) {
	if !c.published(key, password) && utf8.RuneCountInString(password.Reveal()) < minServicePassword {
		c.add(key, "is shorter than 16 characters", "make one by `openssl rand -base64 24`")
	}
}

// natsElsewhere checks the connection to the server at nats.url.
func (c *checker) natsElsewhere(n NATS) {
	c.natsURL(n.URL)
	for _, key := range []string{"nats.listen", "nats.service_user", "nats.service_password", "nats.tls_cert_file", "nats.tls_key_file"} {
		if c.given(key) && !isEmpty(valueAt(c.cfg, strings.Split(key, "."))) {
			c.add(key, "is for the embedded server, but nats.url names another one", "remove one of them")
		}
	}
	c.userAndPassword("nats.user", n.User, "nats.password", n.Password)
	if n.CredentialsFile != "" {
		if n.User != "" || n.Password.Set() {
			c.add("nats.credentials_file", "is given in addition to user and password", "keep one way to sign in")
		}
		if _, mode, ok := c.readable("nats.credentials_file", n.CredentialsFile); ok {
			c.openSecret("nats.credentials_file", n.CredentialsFile, mode)
		}
	}
	c.authorities("nats.ca_file", n.CAFile)
}

// Authorities returns the certificates of CAFile, or nil if there is none.
func (n NATS) Authorities() (*x509.CertPool, error) { return authorities(n.CAFile) }

// authorities returns the certificates of a file, or nil if its name is empty.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, _, err := private.ReadNamed(file, maxFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, fmt.Errorf("the file %s has no certificate in PEM", file)
	}
	return pool, nil
}

// authorities checks the file of authorities that a key names. It may be unset.
func (c *checker) authorities(key, file string) {
	if file == "" {
		return
	}
	if _, _, ok := c.readable(key, file); ok {
		if _, err := authorities(file); err != nil {
			c.add(key, err.Error(), "")
		}
	}
}

func (c *checker) natsURL(urls string) {
	const key, hint = "nats.url", "such as nats://nats.internal:4222 or tls://nats.internal:4222"
	for raw := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(raw))
		switch {
		case err != nil || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) || u.Hostname() == "" || !validPort(u.Port(), true):
			c.add(key, "is not a NATS URL", hint)
		case u.User != nil:
			c.add(key, "has a user, a password or a token in it", "set nats.user and nats.password (or password_file), or credentials_file")
		case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
			c.add(key, "has more than scheme, host and port", hint)
		}
	}
}

// natsEmbedded checks the embedded server.
func (c *checker) natsEmbedded(n NATS) {
	for _, key := range []string{"nats.user", "nats.password", "nats.credentials_file", "nats.ca_file"} {
		if c.given(key) && !isEmpty(valueAt(c.cfg, strings.Split(key, "."))) {
			c.add(key, "is for a server elsewhere, but nats.url is missing", "set nats.url; for the embedded server: service_user and service_password")
		}
	}
	valid := c.address("nats.listen", n.Listen)
	if n.ServicePassword.Set() && utf8.RuneCountInString(n.ServicePassword.Reveal()) < minServicePassword {
		c.add("nats.service_password", "is shorter than 16 characters", "make one by `openssl rand -base64 24`")
	}
	if valid && !origin.LoopbackHost(hostOf(n.Listen)) {
		const hint = "nats.listen is reached from elsewhere: it needs services, or service_user and service_password, and tls_cert_file and tls_key_file"
		if len(n.Services) == 0 || n.ServiceUser != "" || n.ServicePassword.Set() {
			c.required("nats.service_user", n.ServiceUser != "", hint)
			c.required("nats.service_password", n.ServicePassword.Set(), hint)
		}
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
		c.add(passwordKey, "is missing: "+userKey+" is given", "set both or neither")
	case user == "" && password.Set():
		c.add(userKey, "is missing: "+passwordKey+" is given", "set both or neither")
	}
}

// readable reads the text file that a key names, which must be a regular one.
func (c *checker) readable(key, name string) (string, fs.FileMode, bool) {
	content, mode, err := private.ReadNamed(name, maxFile)
	switch {
	case err != nil:
		c.add(key, err.Error(), "")
	case !mode.IsRegular(): // it is read again later
		c.add(key, name+" is a pipe, which can be read only once", "name a regular file")
	case strings.HasPrefix(content, "\ufeff"):
		c.add(key, "the file "+name+" begins with a byte order mark (BOM)", "save it as UTF-8 without one")
	default:
		return content, mode, true
	}
	return "", 0, false
}

// isEmpty reports whether a value is "", [] or an empty secret.
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
