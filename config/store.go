package config

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"tokenbroker/api/origin"
)

// The values of store.engine.
const (
	EngineBadger   = "badger"
	EngineEtcd     = "etcd"
	EnginePostgres = "postgres"
)

// defaultEtcdPrefix is that of package etcdstore, which only cmd imports.
const defaultEtcdPrefix = "tokenbroker/"

var (
	brokerName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	etcdPrefix = regexp.MustCompile(`^[A-Za-z0-9._-]{1,127}/$`)
)

// Shared reports whether several brokers may use the store.
func (s Store) Shared() bool { return s.Engine == EngineEtcd || s.Engine == EnginePostgres }

// engineKeys are the keys that other engines than theirs do not have.
var engineKeys = map[string][]string{
	EngineEtcd: {
		"store.etcd.endpoints", "store.etcd.prefix", "store.etcd.ca_file", "store.etcd.certificate_file", "store.etcd.key_file",
		"store.etcd.username", "store.etcd.password",
	},
	EnginePostgres: {
		"store.postgres.url", "store.postgres.password", "store.postgres.schema", "store.postgres.durability",
		"store.postgres.max_connections", "store.postgres.notify",
	},
}

// store checks the engine, and what several brokers of one engine need.
func (c *checker) store() {
	s := c.cfg.Store
	c.oneOf("store.engine", s.Engine, EngineBadger, EngineEtcd, EnginePostgres)
	for _, engine := range []string{EngineEtcd, EnginePostgres} {
		if s.Engine != engine && (s.Shared() || s.Engine == EngineBadger) {
			c.unused(engineKeys[engine], "is for brokers on "+engine+", but store.engine is "+s.Engine, "set store.engine: "+engine+", or remove it")
		}
	}
	if !s.Shared() {
		if s.Engine == EngineBadger {
			c.unused([]string{"store.broker_name"}, "is for several brokers, but store.engine is badger", "set store.engine: etcd or postgres, or remove it")
		}
		return
	}
	if !brokerName.MatchString(s.BrokerName) {
		hint := "1 to 128 letters, digits and characters of ._-, another name for each broker"
		if c.given("store.broker_name") {
			c.add("store.broker_name", fmt.Sprintf("%q is not a broker's name", s.BrokerName), hint)
		} else {
			c.add("store.broker_name", fmt.Sprintf("is missing, and the host name %q cannot be used instead", s.BrokerName), hint)
		}
	}
	if s.Engine == EngineEtcd {
		c.etcd(s.Etcd)
	} else {
		c.postgres(s.Postgres)
	}
	c.required("keyring.kek", c.given("keyring.kek"), "the brokers of a cluster share one key encryption key, so none makes its own: `openssl rand -base64 32`, and name the file by keyring.kek_file at each broker")
	c.required("nats.url", c.cfg.NATS.URL != "", "a broker's embedded NATS server reaches only the services that are connected to it: run a NATS server or cluster that all brokers use")
	c.addAll(c.cfg.Policy().CheckShared())
}

// unused reports those of keys that are set.
func (c *checker) unused(keys []string, message, hint string) {
	for _, key := range keys {
		if c.given(key) && !isEmpty(valueAt(c.cfg, strings.Split(key, "."))) {
			c.add(key, message, hint)
		}
	}
}

// etcd checks the connections to the members.
func (c *checker) etcd(e Etcd) {
	c.required("store.etcd.endpoints", len(e.Endpoints) > 0, "the client URLs of the members, such as [https://etcd-1:2379, https://etcd-2:2379, https://etcd-3:2379]")
	c.names("store.etcd.endpoints", e.Endpoints)
	plain := 0
	for _, endpoint := range e.Endpoints {
		if c.etcdEndpoint(endpoint) {
			plain++
		}
	}
	if plain > 0 && plain < len(e.Endpoints) {
		c.add("store.etcd.endpoints", "has both http and https URLs", "use https for all members")
	}
	if !etcdPrefix.MatchString(e.Prefix) {
		c.add("store.etcd.prefix", fmt.Sprintf("%q is not a prefix", e.Prefix), "1 to 127 letters, digits and characters of ._-, and a slash at the end, such as tokenbroker/")
	}
	for _, file := range []struct{ key, name string }{
		{"store.etcd.ca_file", e.CAFile}, {"store.etcd.certificate_file", e.CertificateFile}, {"store.etcd.key_file", e.KeyFile},
	} {
		if plain > 0 && file.name != "" {
			c.add(file.key, "is given, but store.etcd.endpoints has an http URL", "write all endpoints as https, or remove the files")
			return
		}
	}
	c.authorities("store.etcd.ca_file", e.CAFile)
	c.keyPair("store.etcd.certificate_file", e.CertificateFile, "store.etcd.key_file", e.KeyFile, "")
	c.published("store.etcd.password", e.Password)
	c.userAndPassword("store.etcd.username", e.Username, "store.etcd.password", e.Password)
}

// etcdEndpoint checks the URL of a member. It reports whether it is a good one with http.
func (c *checker) etcdEndpoint(raw string) (plain bool) {
	const key, hint = "store.etcd.endpoints", "scheme, host and port, such as https://etcd-1:2379"
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !validPort(u.Port(), false):
		c.add(key, "has an item that is not the URL of a member", hint)
	case u.User != nil:
		c.add(key, "has a user or a password in it", "set store.etcd.username and store.etcd.password (or password_file)")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		c.add(key, "has more than scheme, host and port", hint)
	case u.Scheme == "http":
		if !origin.LoopbackHost(u.Hostname()) {
			c.warn(key, "has an http URL that is not loopback: anyone who can read or change its traffic can use every session", "use https, with store.etcd.ca_file, certificate_file and key_file")
		}
		return true
	}
	return false
}

// Authorities returns the certificates of CAFile, or nil if there is none.
func (e Etcd) Authorities() (*x509.CertPool, error) { return authorities(e.CAFile) }
