package directory

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxURI is the maximum length of a client's URI, in bytes.
const maxURI = 512

// loopbackHosts are the hosts, as in a URI, that are the user's own machine (RFC 8252 §7.3 and §8.3).
var loopbackHosts = []string{"127.0.0.1", "[::1]", "localhost"}

// answerParams are the parameters that an authorization or log-out response adds to a redirect URI.
var answerParams = []string{"code", "state", "iss", "error", "error_description", "error_uri"}

// MatchRedirectURI reports whether sent is one of the registered redirect URIs. They are compared as strings, without folding
// case, decoding or normalizing (RFC 9700 §2.1). The only exception is a registered http URI on 127.0.0.1, [::1] or localhost that
// has no port: sent may then have any port (RFC 8252 §7.3).
func MatchRedirectURI(registered []string, sent string) bool {
	return slices.ContainsFunc(registered, func(uri string) bool { return uri == sent || matchAnyPort(uri, sent) })
}

// matchAnyPort reports whether registered is a loopback URI without a port, and sent the same URI with one.
func matchAnyPort(registered, sent string) bool {
	for _, host := range loopbackHosts {
		origin := "http://" + host
		rest, ok := strings.CutPrefix(registered, origin)
		if !ok || rest != "" && rest[0] != '/' && rest[0] != '?' {
			continue
		}
		portAndRest, ok := strings.CutPrefix(sent, origin+":")
		port, same := strings.CutSuffix(portAndRest, rest)
		return ok && same && validPort(port)
	}
	return false
}

// validPort reports whether text is a port as browsers write it.
func validPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == text
}

// redirectURIFlaw returns the rule that a redirect URI breaks, or "". The scheme is https, or http on a loopback host, or a
// private-use scheme, which has a dot (RFC 8252 §7.1).
func redirectURIFlaw(uri string) string {
	u, flaw := parseURI(uri)
	if flaw != "" {
		return flaw
	}
	for _, name := range answerParams {
		if u.Query().Has(name) {
			return "has the query parameter " + name + ", which the broker adds itself"
		}
	}
	if strings.Contains(u.Scheme, ".") {
		return ""
	}
	return webURLFlaw(u)
}

// IsDocumentID reports whether a client id is a URL: that of a Client ID Metadata Document.
func IsDocumentID(id string) bool {
	return strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://")
}

// DocumentIDFlaw returns the rule that the URL of a Client ID Metadata Document breaks, or ""
// (draft-ietf-oauth-client-id-metadata-document-03 §3). http on a loopback host is allowed only if insecureLoopback is true.
func DocumentIDFlaw(id string, insecureLoopback bool) string {
	u, flaw := parseURI(id)
	if flaw == "" {
		flaw = webURLFlaw(u)
	}
	switch {
	case flaw != "":
		return flaw
	case u.Scheme == "http" && !insecureLoopback:
		return "is http: use https"
	case u.Path == "":
		return "has no path"
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(segment string) bool { return segment == "." || segment == ".." }):
		return "has a path with . or .."
	}
	return ""
}

// IsWebOrigin reports whether text is a web origin as browsers write it: an https one, or an http one on loopback.
func IsWebOrigin(text string) bool { return originFlaw(text) == "" }

// originFlaw returns the rule that a web origin breaks, or "".
func originFlaw(origin string) string {
	u, flaw := parseURI(origin)
	if flaw == "" {
		flaw = webURLFlaw(u)
	}
	switch {
	case flaw != "":
		return flaw
	case origin != u.Scheme+"://"+u.Host:
		return "is not an origin: write scheme://host or scheme://host:port, without a path"
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return "has the default port, which browsers leave out: remove it"
	}
	return ""
}

// parseURI parses an absolute URI and returns the rule that it breaks, or "".
func parseURI(uri string) (u *url.URL, flaw string) {
	switch {
	case len(uri) > maxURI:
		return nil, "is longer than " + strconv.Itoa(maxURI) + " bytes"
	case strings.Contains(uri, "*"):
		return nil, "has a wildcard: register each URI in full"
	case strings.Contains(uri, "#"):
		return nil, "has a fragment: remove # and the text after it"
	case strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) }):
		return nil, "has a character that must be escaped in a URI, such as %20 for a space"
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" && u.Path == "" && u.Opaque == "":
		return nil, "is not an absolute URI, such as https://app.example.com/callback"
	case u.User != nil:
		return nil, "has a user or a password in it: remove them"
	case !strings.HasPrefix(uri, u.Scheme+":"):
		return nil, "has capital letters in its scheme: write it in lower case"
	}
	return u, ""
}

// webURLFlaw returns the rule that an https URL, or an http URL on a loopback host, breaks, or "".
func webURLFlaw(u *url.URL) string {
	port := u.Port()
	host := strings.TrimSuffix(u.Host, ":"+port)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "has a scheme that is not allowed: use https, http on a loopback host, or a private scheme with a dot, such as com.example.app"
	case u.Hostname() == "":
		return "has no host"
	case strings.HasSuffix(u.Host, ":") || port != "" && !validPort(port):
		return "has a port that is not 1 to 65535 as browsers write it"
	case strings.ToLower(host) != host:
		return "has capital letters in its host: write it in lower case"
	case strings.HasSuffix(host, "."):
		return "has a host that ends in a dot: remove the dot"
	case strings.Contains(host, "%"):
		return "has an escaped character in its host"
	case u.Scheme == "http" && !slices.Contains(loopbackHosts, host):
		return "is http: use https, or a loopback host, " + strings.Join(loopbackHosts, ", ")
	}
	return ""
}
