package doctor

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tokenbroker/api/origin"
)

// browsers sends the requests that a SPA's browser sends, to the public URL and thus through the proxy.
func browsers(ctx context.Context, s Subject) []Finding {
	found := []Finding{cookie(ctx, s)}
	own, err := url.Parse(s.Issuer)
	if err != nil {
		return found
	}
	for _, o := range s.Origins {
		u, err := origin.Parse(o)
		switch {
		case err != nil:
			found = append(found, Finding{"origin " + o, Fail, err.Error(), "correct origins in the configuration"})
		case !origin.SameSite(own, u): // only from dev's --origin: a configuration with such an origin is refused
			found = append(found, Finding{"origin " + o, Warn, "not same-site with " + s.Issuer, "browsers send no session cookie with its requests: the SPA's own server has to pass /auth on to the broker"})
		default:
			found = append(found, preflight(ctx, s, o))
		}
	}
	return found
}

// cookie sends a log-off without a session and checks the first cookie that the answer clears: session
// cookies have the same attributes.
func cookie(ctx context.Context, s Subject) Finding {
	const name = "cookie"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Issuer+"/auth/logoff/", strings.NewReader("{}"))
	if err != nil {
		return Finding{name, Fail, err.Error(), "check public_url"}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.Client.Do(req)
	if err != nil {
		return Finding{name, Fail, err.Error(), "check public_url and the proxy"}
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK || len(resp.Cookies()) == 0 {
		return Finding{name, Fail, fmt.Sprintf("POST /auth/logoff/ answers %s with %d cookies", resp.Status, len(resp.Cookies())), "the proxy must pass POST /auth/ and Set-Cookie as they are"}
	}
	c := resp.Cookies()[0]
	https := strings.HasPrefix(s.Issuer, "https://")
	switch {
	case !c.HttpOnly || c.SameSite != http.SameSiteStrictMode:
		return Finding{name, Fail, c.Name + " is set without HttpOnly or SameSite=Strict", "the proxy rewrites cookies: turn that off"}
	case https && !c.Secure:
		return Finding{name, Fail, c.Name + " is set without Secure", "the proxy rewrites cookies, or cookie.secure is off"}
	case https && !strings.HasPrefix(c.Name, "__Secure-") && !strings.HasPrefix(c.Name, "__Host-"):
		return Finding{name, Fail, c.Name + " has no __Secure- or __Host- prefix", "the proxy rewrites cookies: turn that off"}
	}
	if https && !strings.HasPrefix(c.Name, "__Host-") {
		return Finding{name, Warn, fmt.Sprintf("%s at %s can be planted by another host of the domain", c.Name, c.Path), "set cookie.path to /, or leave it out"}
	}
	return Finding{Check: name, Level: OK, Detail: fmt.Sprintf("%s at %s", c.Name, c.Path)}
}

// preflight sends the CORS preflight of a refresh from the SPA's origin (Fetch standard, CORS-preflight fetch).
func preflight(ctx context.Context, s Subject, from string) Finding {
	name := "origin " + from
	req, err := http.NewRequestWithContext(ctx, http.MethodOptions, s.Issuer+"/auth/refresh/", nil)
	if err != nil {
		return Finding{name, Fail, err.Error(), "check public_url"}
	}
	req.Header.Set("Origin", from)
	req.Header.Set("Access-Control-Request-Method", http.MethodPost)
	req.Header.Set("Access-Control-Request-Headers", "content-type")
	resp, err := s.Client.Do(req)
	if err != nil {
		return Finding{name, Fail, err.Error(), "check public_url and the proxy"}
	}
	_ = resp.Body.Close()
	allowed := resp.Header.Values("Access-Control-Allow-Origin")
	switch {
	case len(allowed) > 1:
		return Finding{name, Fail, "two Access-Control-Allow-Origin headers", "the proxy adds CORS headers, which the broker sets: turn that off in the proxy"}
	case resp.StatusCode != http.StatusNoContent || len(allowed) == 0 || allowed[0] != from || resp.Header.Get("Access-Control-Allow-Credentials") != "true":
		return Finding{name, Fail, fmt.Sprintf("the answer to its CORS preflight is %s, allowed origins: %v", resp.Status, allowed), "the proxy must pass OPTIONS /auth/ and the CORS headers as they are"}
	}
	return Finding{Check: name, Level: OK, Detail: "allowed"}
}
