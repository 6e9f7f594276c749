package config

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// entraHosts are the hosts of Entra ID. The tenant is the first part of an issuer's path there.
var entraHosts = []string{"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.chinacloudapi.cn"}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// issuer adds a problem for an issuer that cannot work. Tokens contain it letter by letter (OIDC Core
// §3.1.3.7), and the URL of the discovery document begins with it (OIDC Discovery §4). Doctor reports
// mistakes that only the document shows, such as a missing slash at the end.
func (c *checker) issuer(key, issuer string) {
	const asPublished = "copy the issuer from the provider's discovery document, letter by letter"
	lower := strings.ToLower(issuer)
	for _, document := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json"} {
		if strings.Contains(lower, document) {
			c.add(key, "is the address of a document", "remove "+document+" and what follows it")
			return
		}
	}
	if i := strings.IndexFunc(issuer, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }); i >= 0 {
		c.add(key, "has the character "+strconv.QuoteRuneToASCII([]rune(issuer[i:])[0])+", which a URL cannot have",
			asPublished+"; a host name in other letters is written in its ASCII form, such as xn--bcher-kva.example")
		return
	}
	if strings.ContainsAny(issuer, "{}<>") || strings.Contains(lower, "%7b") {
		c.add(key, "has a placeholder", "replace it by the value of your tenant; tokens carry the value")
		return
	}
	found := len(c.problems)
	c.httpsURL(key, issuer, true, "such as https://id.example.com; http is only for loopback")
	u, err := url.Parse(issuer)
	if err != nil || len(c.problems) > found {
		return
	}
	if scheme, rest, _ := strings.Cut(issuer, "://"); scheme != u.Scheme || !strings.HasPrefix(rest, strings.ToLower(u.Host)) {
		c.add(key, "has capital letters in its scheme or host", asPublished+"; providers write both in lower case")
		return
	}
	c.issuerPort(key, u)
	if slices.ContainsFunc(strings.Split(u.Path, "/"), func(part string) bool { return part == "." || part == ".." }) {
		c.add(key, "has a . or .. in its path", asPublished)
	}
	if slices.Contains(entraHosts, u.Hostname()) {
		c.entra(key, u)
	}
}

func (c *checker) issuerPort(key string, u *url.URL) {
	port := u.Port()
	switch {
	case strings.HasSuffix(u.Host, ":"), port == "0", port != "" && !validPort(port, false):
		c.add(key, "has a port that is not valid", "1 to 65535, or no colon")
	case u.Scheme == "https" && port == "443", u.Scheme == "http" && port == "80":
		c.warn(key, "names the default port "+port, "few providers write it into their tokens; without it there, sign-in fails: doctor --config compares it with the discovery document")
	}
}

// entra adds a problem for a URL that is not an issuer of Entra ID: its tokens contain the id of the tenant
// and the version.
func (c *checker) entra(key string, u *url.URL) {
	tenant, version, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	hint := "write https://" + u.Host + "/TENANT/v2.0 with the directory (tenant) id, which is a GUID in lower case"
	switch {
	case slices.Contains([]string{"common", "organizations", "consumers"}, tenant):
		c.add(key, "has "+strconv.Quote(tenant)+" in place of a tenant: the tokens carry the tenant of each user", hint)
	case !guid.MatchString(tenant):
		c.add(key, "has "+strconv.Quote(tenant)+" in place of a tenant's id", hint)
	case version != "v2.0":
		c.add(key, "does not end with /v2.0", hint)
	}
}
