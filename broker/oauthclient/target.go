package oauthclient

import (
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
)

// parseScope returns the scopes of a scope parameter (RFC 6749 §3.3), each once.
func parseScope(text string) ([]string, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return nil, refusal(broker.CodeInvalidScope, "The scope is malformed.", "malformed scope")
	}
	var scopes []string
	for _, scope := range strings.Fields(text) {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, nil
}

// intersect returns the members of list that are in other.
func intersect(list, other []string) []string {
	var both []string
	for _, one := range list {
		if slices.Contains(other, one) {
			both = append(both, one)
		}
	}
	return both
}

func errNoScope() error {
	return refusal(broker.CodeInvalidScope, "The request has no scope that the client may use.", "no scope is left")
}

// onlyOpenID reports whether no service but the broker itself grants access by the scopes.
func onlyOpenID(scopes []string) bool {
	return !slices.ContainsFunc(scopes, func(scope string) bool { return !credential.OpenIDScope(scope) })
}

// audiences returns the audiences of the client's tokens.
func (svc *Service) audiences(client directory.ClientRecord) []string {
	if len(client.Audiences) > 0 {
		return client.Audiences
	}
	return svc.cfg.Audience
}

// narrow returns the aud of a token for the resources (RFC 8707) and audiences (RFC 8693 §2.1) of a request: those of all that they
// name, then the resources as they are configured. Without any, it is all.
func (svc *Service) narrow(all, resources, audiences []string) ([]string, error) {
	if len(resources) == 0 && len(audiences) == 0 {
		return all, nil
	}
	var narrowed, uris []string
	add := func(list []string, one string) []string {
		if slices.Contains(list, one) {
			return list
		}
		return append(list, one)
	}
	for _, name := range audiences {
		if !slices.Contains(all, name) {
			return nil, refusal(broker.CodeInvalidTarget, "An audience is unknown, or is not one that the request may name.", "audience")
		}
		narrowed = add(narrowed, name)
	}
	for _, uri := range resources {
		name := svc.audienceOf(all, uri)
		if name == "" {
			return nil, refusal(broker.CodeInvalidTarget, "A resource is unknown, or is not one that the request may name.", "resource")
		}
		narrowed, uris = add(narrowed, name), add(uris, svc.cfg.Resources[name])
	}
	return append(narrowed, uris...), nil
}

// audienceOf returns the one of the audiences whose resource has the URI, or "". If the URI without or with a slash is that of two, it is the
// one of the same text.
func (svc *Service) audienceOf(audiences []string, uri string) string {
	for _, equal := range []func(a, b string) bool{func(a, b string) bool { return a != "" && a == b }, sameURI} {
		if at := slices.IndexFunc(audiences, func(name string) bool { return equal(svc.cfg.Resources[name], uri) }); at >= 0 {
			return audiences[at]
		}
	}
	return ""
}

// sameURI reports whether two URIs are equal, where an empty path of an https or http URI equals "/" (RFC 3986 §6.2.3): clients that parse
// a resource's URI and print it again add the slash. An empty text is not a URI.
func sameURI(a, b string) bool { return a != "" && withPath(a) == withPath(b) }

// withPath returns an https or http URI that has a path of "/" if it had none. Other texts stay as they are.
func withPath(uri string) string {
	for _, scheme := range []string{"https://", "http://"} {
		rest, ok := strings.CutPrefix(uri, scheme)
		if !ok || rest == "" {
			continue
		}
		end := strings.IndexAny(rest, "/?#")
		switch {
		case end < 0:
			return uri + "/"
		case rest[end] != '/':
			return scheme + rest[:end] + "/" + rest[end:]
		}
	}
	return uri
}
