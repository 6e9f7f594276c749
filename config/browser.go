package config

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/origin"
	"tokenbroker/broker/directory"
)

// browser checks the settings of browsers: the cookie, the origins, the landing pages and the client.
func (c *checker) browser() {
	c.cookie()
	public, err := origin.Parse(c.cfg.PublicURL)
	if err != nil {
		public = nil // checked elsewhere
	}
	for _, o := range c.cfg.Origins {
		c.origin(o, public)
	}

	client, found := c.cfg.Clients[c.cfg.Browser.Client]
	switch {
	case c.cfg.Browser.Client == "":
		c.add("browser.client", "is missing", "the id of the public client, one of clients, that browser sessions belong to")
	case !found:
		hint := "add it to clients, with public: true"
		if best := didYouMean(c.cfg.Browser.Client, c.cfg.ids(path{"clients"})); best != "" {
			hint = "did you mean " + best + "?"
		}
		c.add("browser.client", "is not one of clients", hint)
	case !client.Public:
		c.add("browser.client", "is not a public client", "a browser keeps no secret: name a client with public: true")
	}
	c.landing("browser.home_url", c.cfg.Browser.HomeURL, public)
	c.landing("browser.signed_out_url", c.cfg.Browser.SignedOutURL, public)
	c.scopes("browser.scopes", c.cfg.Browser.Scopes)
	for _, scope := range c.cfg.Browser.Scopes {
		if found && directory.ScopeFlaw(scope) == "" && !slices.Contains(client.Scopes, scope) {
			c.add("browser.scopes", strconv.Quote(scope)+" is not one of the scopes of "+c.cfg.Browser.Client, "also add it to clients."+c.cfg.Browser.Client+".scopes")
		}
	}
}

// RefreshCookie returns the settings of the refresh cookie.
func (c *Config) RefreshCookie() httpapi.Cookie {
	return httpapi.Cookie{Name: c.Cookie.Name, Path: c.Cookie.Path, Insecure: !*c.Cookie.Secure}
}

func (c *checker) cookie() {
	cookie, settings := c.cfg.Cookie, c.cfg.RefreshCookie()
	if err := settings.CheckName(); err != nil {
		c.add("cookie.name", err.Error(), "the broker adds the prefix itself")
	}
	https := strings.HasPrefix(c.cfg.PublicURL, "https:")
	if err := settings.CheckPath(); err != nil {
		c.add("cookie.path", err.Error(), "leave it out: / with https, /auth with http")
	} else if cookie.Path != "/" && https {
		c.warn("cookie.path", "is "+cookie.Path+": any host of the same domain can plant a cookie of this path, and put users into another account",
			"set / or leave it out: the cookie is then __Host-"+cookie.Name+", which only the broker's own host can set; browsers sign in once more")
	}
	if !c.given("cookie.secure") {
		return
	}
	switch {
	case *cookie.Secure && !https:
		c.add("cookie.secure", "is true, but public_url is not https", "browsers would drop the cookie: leave it out")
	case !*cookie.Secure && (https || !loopbackURL(c.cfg.PublicURL)):
		c.add("cookie.secure", "is false on a public URL", "leave it out; false is only for http on loopback")
	}
}

func loopbackURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && origin.LoopbackHost(u.Hostname())
}

func (c *checker) origin(text string, public *url.URL) {
	const key = "origins"
	switch text {
	case "*":
		c.add(key, `"*" would let every site act as the user`, "name each SPA's origin, such as https://app.example.com")
		return
	case "null":
		c.add(key, `"null" is the origin of sandboxed frames and of local files, which any site can use`, "serve the SPA from a host and name its origin")
		return
	}
	u, err := origin.Parse(text)
	if err != nil {
		shown := strconv.Quote(text)
		if strings.Contains(text, "@") {
			shown = "an item" // a password may be in it
		}
		message := " is not an origin"
		if parsed, parseErr := url.Parse(text); parseErr == nil && parsed.User == nil && parsed.Hostname() != "" {
			if err := origin.Check(parsed); err != nil {
				message = " " + err.Error()
			}
		}
		c.add(key, shown+message, "scheme://host or scheme://host:port, such as https://app.example.com; no path, no wildcard")
		return
	}
	if public == nil || origin.SameSite(u, public) {
		return
	}
	hint := "the refresh cookie is SameSite=Strict: put SPA and broker below one domain"
	otherScheme := *u
	otherScheme.Scheme = public.Scheme
	switch {
	case origin.SameSite(&otherScheme, public):
		hint = "the scheme is also a part of the site: use " + public.Scheme + " for both"
	case origin.LoopbackHost(u.Hostname()) && origin.LoopbackHost(public.Hostname()):
		hint = "localhost, 127.0.0.1 and ::1 are different sites: use the same name for both"
	}
	c.add(key, strconv.Quote(text)+" is on another site than public_url", hint)
}

// maxLanding is the most bytes that the return_to of a login may have.
const maxLanding = 512

// landing checks a URL that browsers are sent to. It must be at public_url or at one of the origins, so
// that it is not another site's.
func (c *checker) landing(key, text string, public *url.URL) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Opaque != "":
		c.add(key, "is not an http or https URL", "write it in full, such as https://app.example.com/")
		return
	case u.User != nil:
		c.add(key, "has a user or a password in it", "remove it")
		return
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		c.add(key, "has a space, a backslash or a character that is not printable ASCII", "escape it, such as %20 for a space")
		return
	case len(text) > maxLanding:
		c.add(key, "is longer than 512 bytes", "")
		return
	case key == "browser.signed_out_url" && strings.Contains(text, "#"):
		c.add(key, "has a fragment, which providers do not accept", "remove # and the text after it")
		return
	}
	allowed := func(o string) bool {
		parsed, err := origin.Parse(o)
		return err == nil && origin.Of(parsed) == origin.Of(u)
	}
	if public != nil && !slices.ContainsFunc(append([]string{c.cfg.PublicURL}, c.cfg.Origins...), allowed) {
		c.add(key, "is at "+origin.Of(u)+", which is not public_url's origin or one of origins", "add that origin to origins, or name a page of one of them")
	}
}

// names checks that no name of a list is empty or occurs twice.
func (c *checker) names(key string, names []string) {
	seen := map[string]bool{}
	for _, name := range names {
		switch {
		case strings.TrimSpace(name) == "":
			c.add(key, "has an empty item", "")
		case seen[name]:
			c.add(key, strconv.Quote(name)+" is given twice", "keep one")
		}
		seen[name] = true
	}
}
