package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"tokenbroker/api/origin"
)

// The values of store.postgres.durability.
const (
	DurabilitySynchronous = "synchronous"
	DurabilityLocal       = "local"
)

// Defaults and limits of package pgstore, which only cmd imports.
const (
	defaultPostgresSchema      = "tokenbroker"
	defaultPostgresConnections = 16
	leastPostgresConnections   = 2
	mostPostgresConnections    = 10_000
)

var postgresSchema = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// postgres checks the connections to the database.
func (c *checker) postgres(p Postgres) {
	c.postgresURL(p.URL)
	c.published("store.postgres.password", p.Password)
	if !postgresSchema.MatchString(p.Schema) || strings.HasPrefix(p.Schema, "pg_") {
		c.add("store.postgres.schema", fmt.Sprintf("%q is not the name of a schema", p.Schema), "1 to 63 lower-case letters, digits and underscores that do not begin with a digit or with pg_, such as tokenbroker")
	}
	c.oneOf("store.postgres.durability", p.Durability, DurabilitySynchronous, DurabilityLocal)
	if p.Durability == DurabilityLocal {
		c.warn("store.postgres.durability", "is local: unless the storage of the server is replicated, log-offs that were acknowledged are undone when its disk is lost, or a standby replaces it",
			"use a synchronous standby; local is right where the storage is replicated synchronously, as at Amazon RDS Multi-AZ and Aurora")
	}
	if p.MaxConnections < leastPostgresConnections || p.MaxConnections > mostPostgresConnections {
		c.add("store.postgres.max_connections", "is not between 2 and 10000", "16 are enough for most brokers; the server needs as many for each broker, and a few more")
	}
}

// postgresURL checks the URL of the database. Problems do not contain it, because it may have a password. The other
// parameters, and the files that they name, are checked by package pgstore.
func (c *checker) postgresURL(raw string) {
	const key, hint = "store.postgres.url", "such as postgres://tokenbroker@db-1:5432,db-2:5432/tokenbroker?sslmode=verify-full"
	if raw == "" {
		c.add(key, "is missing", "the user, all servers and the database, "+hint)
		return
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "" {
		c.add(key, "is not the URL of a PostgreSQL database", hint+"; with several servers, write the port of each or of none")
		return
	}
	query, err := url.ParseQuery(u.RawQuery)
	_, password := u.User.Password()
	hosts := postgresHosts(u.Host)
	switch {
	case password || query.Has("password"):
		c.add(key, "has a password in it", "set store.postgres.password (or password_file), and write only the user into the URL")
	case err != nil || u.Fragment != "":
		c.add(key, "has an invalid query, or a fragment", hint)
	case u.User.Username() == "" || len(u.Path) < 2:
		c.add(key, "needs a user and a database", hint)
	case slices.Contains(hosts, ""):
		c.add(key, "has a server that is not host:port", hint)
	default:
		c.postgresTLS(key, query.Get("sslmode"), slices.ContainsFunc(hosts, func(host string) bool { return !origin.LoopbackHost(host) }))
	}
}

// postgresTLS checks the mode of a URL's connections. Remote means that a server is not loopback.
func (c *checker) postgresTLS(key, mode string, remote bool) {
	const hint = "use sslmode=verify-full, with sslrootcert=FILE unless the system knows the authority of the servers' certificates"
	missing, known := map[string]string{
		"verify-full": "",
		"verify-ca":   "check the names of the servers: anyone who has another certificate of that authority and can redirect the traffic",
		"require":     "check the certificates of the servers: anyone who can redirect the traffic",
		"disable":     "encrypt: anyone who can read or change the traffic",
	}[mode]
	switch {
	case !known: // the modes prefer, which is the default of libpq, and allow continue without TLS
		c.add(key, "has no sslmode of verify-full, verify-ca, require or disable", hint+"; on loopback, sslmode=disable")
	case remote && missing != "":
		c.warn(key, "has sslmode="+mode+" for a server that is not loopback, which does not "+missing+" can use every session", hint)
	}
}

// postgresHosts returns the hosts of a URL with several servers, "" for one that is not valid.
func postgresHosts(servers string) []string {
	var hosts []string
	for server := range strings.SplitSeq(servers, ",") {
		u := url.URL{Host: server}
		host := u.Hostname()
		if server != host && !validPort(u.Port(), strings.HasSuffix(server, "]")) || !validHost(host) {
			host = ""
		}
		hosts = append(hosts, host)
	}
	return hosts
}
