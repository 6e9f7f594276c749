package config

import (
	"cmp"
	"net/netip"
	"strconv"
	"time"

	"tokenbroker/api/origin"
	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/internal/setting"
)

// The bounds of oauth.registration.
const (
	maxPerMinute   = 10_000
	maxRegistered  = 10_000 // all brokers read the records every few seconds
	minUnusedAfter = time.Hour
	maxUnusedAfter = 8760 * time.Hour
)

// Policy returns what clients of the class may have.
func (p ClientPolicy) Policy() broker.ClientPolicy {
	policy := broker.ClientPolicy{
		Scopes: p.Scopes, Audiences: p.Audiences, AccessLife: p.AccessToken.Std(), Idle: p.SessionIdle.Std(), Absolute: p.SessionAbsolute.Std(),
		RefreshTokens: p.RefreshTokens,
	}
	if p.RefreshGrace != nil {
		policy.Grace = new(p.RefreshGrace.Std())
	}
	return policy
}

// selfDescribed checks the settings of clients that describe themselves.
func (c *checker) selfDescribed() {
	o := c.cfg.OAuth
	c.required("oauth.scopes_supported", len(o.ScopesSupported) > 0, "such as [openid, profile, email, offline_access]")
	c.names("oauth.scopes_supported", o.ScopesSupported)
	c.scopes("oauth.scopes_supported", o.ScopesSupported)
	c.clientPolicy("oauth.cimd", o.CIMD.Enabled, o.CIMD.ClientPolicy)
	c.names("oauth.cimd.hosts", o.CIMD.Hosts)
	for _, host := range o.CIMD.Hosts {
		u, err := origin.Parse("https://" + host)
		if _, notAddress := netip.ParseAddr(host); notAddress != nil && (err != nil || u.Hostname() != host || origin.Of(u) != "https://"+host) {
			c.add("oauth.cimd.hosts", strconv.Quote(host)+" is not a host name",
				"in lower case, without scheme, port and path, such as app.example.com; wildcards are not supported")
		}
	}
	switch {
	case o.CIMD.InsecureLoopback && !loopbackURL(c.cfg.PublicURL):
		c.add("oauth.cimd.insecure_loopback", "is set, and public_url is not on loopback", "it lets clients read services on this machine: remove it")
	case o.CIMD.InsecureLoopback:
		c.warn("oauth.cimd.insecure_loopback", "lets clients read services on this machine", "for development only: remove it where people sign in")
	}

	r := o.Registration
	c.clientPolicy("oauth.registration", r.Enabled, r.ClientPolicy)
	c.bearer("oauth.registration.initial_access_token", r.InitialAccessToken)
	for _, own := range []struct {
		key   string
		token Secret
	}{{"admin.token", c.cfg.Admin.Token}, {"admin.metrics_token", c.cfg.Admin.MetricsToken}} {
		if r.InitialAccessToken.Set() && r.InitialAccessToken == own.token {
			c.add("oauth.registration.initial_access_token", "is the same as "+own.key, "developers of clients hold it: make another one")
		}
	}
	if r.PerMinute < 1 || r.PerMinute > maxPerMinute {
		c.add("oauth.registration.per_minute", "is not from 1 to "+strconv.Itoa(maxPerMinute), "such as 10")
	}
	if r.MaxClients < 1 || r.MaxClients > maxRegistered {
		c.add("oauth.registration.max_clients", "is not from 1 to "+strconv.Itoa(maxRegistered), "such as 1000")
	}
	idle := cmp.Or(r.SessionIdle, c.cfg.Lifetimes.SessionIdle).Std()
	switch unused := r.UnusedAfter.Std(); {
	case unused < minUnusedAfter || unused > maxUnusedAfter || unused%time.Second != 0:
		c.add("oauth.registration.unused_after", "is not whole seconds from 1h to 8760h", "such as 30d")
	case r.Enabled && r.RefreshTokens && unused < idle:
		c.warn("oauth.registration.unused_after", "is shorter than session_idle, "+setting.Duration(idle).String()+": a client is removed while users are signed in to it",
			"make it that or longer, or set oauth.registration.session_idle")
	}
}

// clientPolicy checks the members that the groups of both classes have.
func (c *checker) clientPolicy(key string, enabled bool, p ClientPolicy) {
	if enabled {
		c.required(key+".scopes", len(p.Scopes) > 0, "the scopes that such clients may have, such as [openid, profile, email, offline_access]")
	}
	c.names(key+".scopes", p.Scopes)
	c.names(key+".audiences", p.Audiences)
	limits := directory.ClientLimits{Policy: c.cfg.Policy(), Shared: c.cfg.Store.Shared()}
	for _, problem := range directory.ValidateClientPolicy(p.Policy(), limits) {
		c.add(key+"."+problem.Key, problem.Message, problem.Hint)
	}
}
