package config

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"tokenbroker/api/origin"
	"tokenbroker/upstream"
)

var (
	providerName = regexp.MustCompile(`^[a-z0-9-]+$`)
	awsRegion    = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]{1,2}$`)
	userPool     = regexp.MustCompile(`^([a-z0-9-]+)_([A-Za-z0-9]+)$`)
)

func (c *checker) providers() {
	for _, name := range c.cfg.ids(path{"providers"}) {
		p, key := c.cfg.Providers[name], "providers."+name
		if !providerName.MatchString(name) {
			c.add(key, "is not a provider name", "lower-case letters, digits and -: it is part of the callback's URL")
		}
		c.required(key+".client_id", p.ClientID != "", "the app client's id at the provider")
		switch p.Kind {
		case "cognito":
			c.cognito(key, p)
		case "oidc":
			c.oidc(key, p)
		case "":
			c.add(key+".kind", "is missing", "cognito or oidc")
		default:
			c.oneOf(key+".kind", p.Kind, "cognito", "oidc")
		}
		if p.ClientSecret.Set() {
			c.published(key+".client_secret", p.ClientSecret)
		}
		c.names(key+".allowed_client_ids", p.AllowedClientIDs)
		c.names(key+".endpoint_hosts", p.EndpointHosts)
		for _, host := range p.EndpointHosts {
			if host != "" && !hostName.MatchString(host) {
				c.add(key+".endpoint_hosts", strconv.Quote(host)+" is not a host name", "write names or addresses without scheme and port, such as keys.example.com; wildcards are not supported")
			}
		}
		c.scopes(key+".scopes", p.Scopes)
		c.names(key+".algorithms", p.Algorithms)
		for _, algorithm := range p.Algorithms {
			c.oneOf(key+".algorithms", algorithm, upstream.Algorithms()...)
		}
		if c.given(key+".max_token_age") && p.MaxTokenAge <= 0 {
			c.add(key+".max_token_age", "is not positive", "such as 10m")
		}
	}
}

func (c *checker) cognito(key string, p Provider) {
	switch {
	case p.Region == "":
		c.add(key+".region", "is missing", "the user pool's AWS region, such as us-east-1")
	case !awsRegion.MatchString(p.Region):
		c.add(key+".region", strconv.Quote(p.Region)+" is not an AWS region", "such as us-east-1")
	}
	pool := userPool.FindStringSubmatch(p.UserPool)
	switch {
	case p.UserPool == "":
		c.add(key+".user_pool", "is missing", "the user pool's id, such as us-east-1_abc123DEF")
	case pool == nil:
		c.add(key+".user_pool", strconv.Quote(p.UserPool)+" is not a user pool id", "the id, not the name or the ARN: us-east-1_abc123DEF")
	case pool[1] != p.Region && !awsRegion.MatchString(pool[1]):
		c.add(key+".user_pool", strconv.Quote(p.UserPool)+" does not begin with an AWS region", "the id, not the name or the ARN: us-east-1_abc123DEF")
	case p.Region != "" && awsPartition(pool[1]) != awsPartition(p.Region): // within a partition it may be a replica
		c.add(key+".user_pool", "is in "+pool[1]+", not in region "+p.Region, "the id begins with the pool's region; a replica is in the same partition of AWS")
	}
	c.devEndpoint(key+".insecure_dev_endpoint", p.InsecureDevEndpoint)
	if len(p.Algorithms) > 0 {
		c.add(key+".algorithms", "is given for kind cognito", "Cognito signs with RS256 only: remove it")
	}
	if p.Domain != "" {
		c.httpsURL(key+".domain", p.Domain, false, "the hosted UI's URL, such as https://login.auth.us-east-1.amazoncognito.com")
	}
}

// devEndpoint checks the address of an emulator. The emulator's passwords are published, so the emulator and
// the browsers that sign in have to be on this machine.
func (c *checker) devEndpoint(key, text string) {
	if text == "" {
		return
	}
	u, err := origin.Parse(text)
	switch {
	case err != nil || origin.Of(u) != text:
		c.add(key, "is not scheme://host:port", "write it as `tokenbroker idp` prints it: http://127.0.0.1:9090")
	case !origin.LoopbackHost(u.Hostname()):
		c.add(key, "is not on loopback", "it is only for an emulator on this machine, in development: remove it")
	case !loopbackURL(c.cfg.PublicURL):
		c.add(key, "is set, and public_url is not on loopback", "it lets in the users of an emulator, whose passwords are published: remove it")
	default:
		c.warn(key, "replaces AWS by the emulator at "+text+", whose passwords are published", "for development only: remove it where people sign in")
	}
}

// awsPartition returns the prefix of regions that names an AWS partition, or "" for the standard one.
// Partitions share neither user pools nor host names.
func awsPartition(region string) string {
	for _, prefix := range []string{"cn-", "us-gov-", "eusc-", "us-iso", "eu-iso"} {
		if strings.HasPrefix(region, prefix) {
			return prefix
		}
	}
	return ""
}

func (c *checker) oidc(key string, p Provider) {
	if p.Issuer == "" {
		c.add(key+".issuer", "is missing", "the issuer's URL as its discovery document writes it")
	} else {
		c.issuer(key+".issuer", p.Issuer)
	}
	for _, foreign := range []struct{ name, value string }{{"region", p.Region}, {"user_pool", p.UserPool}, {"domain", p.Domain}, {"insecure_dev_endpoint", p.InsecureDevEndpoint}} {
		if foreign.value != "" {
			c.add(key+"."+foreign.name, "is given for kind oidc", "it is for kind cognito: remove it")
		}
	}
}

// httpsURL checks that raw is an https URL. If loopback is true, http is also allowed on loopback.
func (c *checker) httpsURL(key, raw string, loopback bool, hint string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		c.add(key, "is not an https URL", hint)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(raw, "#"):
		c.add(key, "has a user, a query or a fragment", hint)
	case u.Scheme == "http" && (!loopback || !origin.LoopbackHost(u.Hostname())):
		c.add(key, "is http", hint)
	}
}
