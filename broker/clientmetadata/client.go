package clientmetadata

import (
	"net/url"
	"slices"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
)

// refusedGrants are grant types that a client that describes itself may not have. The broker has them for other clients, or never has
// them because OAuth 2.1 does not. A request for one is refused, because the client would not work without it. Other grant types that
// the broker does not have, such as the device code, are left out (RFC 7591 §2: the server may replace values).
var refusedGrants = []string{
	broker.GrantClientCredentials, broker.GrantTokenExchange, "password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer",
}

// Client returns the client that the metadata describes, with id. The lifetimes and audiences of its class are not in it: [Apply] sets
// them at each use. Callers give a client that authenticates by a secret its secret: see [Metadata.Method]. Errors:
// CodeInvalidRedirectURI, CodeInvalidClientMetadata and CodeUnapprovedSoftware.
func (m Metadata) Client(id string, class broker.ClientClass, policy broker.ClientPolicy) (broker.Client, error) {
	if err := m.check(id, class); err != nil {
		return broker.Client{}, err
	}
	c := broker.Client{ID: id, Name: m.Name, RedirectURIs: unique(m.RedirectURIs), PostLogoutURIs: unique(m.PostLogoutURIs)}
	var err error
	if c.Grants, err = m.grants(policy); err != nil {
		return broker.Client{}, err
	}
	if c.Scopes, err = m.scopes(policy); err != nil {
		return broker.Client{}, err
	}
	c.DefaultScopes = defaultScopes(c.Scopes)
	if m.Method(class) == AuthPrivateKey {
		c.JWKS, c.JWKSURI = m.JWKS, m.JWKSURI
	}
	c.Origins = origins(c.RedirectURIs)
	if c.Name, err = name(c.Name, id, class); err != nil {
		return broker.Client{}, err
	}
	if problems := directory.ValidateClient(c, directory.ClientLimits{Class: class}); len(problems) > 0 {
		return broker.Client{}, refusal(problems[0].Key, problems[0].Message, problems[0].Hint)
	}
	return c, nil
}

// Method returns how the client authenticates at the token endpoint. Without a token_endpoint_auth_method, that is client_secret_basic
// for a client that registers itself (RFC 7591 §2). A document cannot have a secret, and its draft has no default: its client
// authenticates by its keys if it has any, and otherwise not at all.
func (m Metadata) Method(class broker.ClientClass) string {
	switch {
	case m.AuthMethod != "":
		return m.AuthMethod
	case class == broker.ClassRegistered:
		return AuthBasic
	case m.JWKS != nil || m.JWKSURI != "":
		return AuthPrivateKey
	}
	return AuthNone
}

// check checks what does not become part of the client.
func (m Metadata) check(id string, class broker.ClientClass) error {
	document := class == broker.ClassDocument
	methods := []string{AuthNone, AuthPrivateKey}
	if !document {
		methods = append(methods, AuthBasic, AuthPost)
	}
	method := m.Method(class)
	switch {
	case m.hasStatement:
		return &broker.Error{Code: broker.CodeUnapprovedSoftware, Message: "software_statement is set; the broker trusts no issuer of software statements: leave it out."}
	case document && m.ClientID != id:
		return invalid("client_id is not the URL of the document.")
	case document && m.hasSecret: // draft-ietf-oauth-client-id-metadata-document-03 §4.1
		return invalid("A document has no client_secret and no client_secret_expires_at.")
	case !slices.Contains(methods, method):
		return invalid("token_endpoint_auth_method is not one of %s.", strings.Join(methods, ", "))
	case m.bothKeyKinds: // RFC 7591 §2
		return invalid("jwks and jwks_uri are both set: keep one of both.")
	case method == AuthPrivateKey && m.JWKS == nil && m.JWKSURI == "":
		return invalid("token_endpoint_auth_method is private_key_jwt, which needs jwks or jwks_uri.")
	case m.ApplicationType != "" && m.ApplicationType != "web" && m.ApplicationType != "native":
		return invalid("application_type is not web or native.")
	case slices.ContainsFunc(m.ResponseTypes, func(t string) bool { return t != "code" }):
		return invalid("response_types has another value than code, which is the only one.")
	case len(m.RedirectURIs) == 0:
		return &broker.Error{Code: broker.CodeInvalidRedirectURI, Message: "redirect_uris is missing: the URIs that users are sent back to."}
	}
	return nil
}

func (m Metadata) grants(policy broker.ClientPolicy) ([]string, error) {
	if len(m.GrantTypes) == 0 {
		return []string{broker.GrantAuthorizationCode}, nil
	}
	grants := []string{}
	for _, grant := range unique(m.GrantTypes) {
		switch {
		case slices.Contains(refusedGrants, grant):
			return nil, invalid("grant_types has %s; a client that describes itself may only have authorization_code and refresh_token.", grant)
		case grant == broker.GrantAuthorizationCode, grant == broker.GrantRefreshToken && policy.RefreshTokens:
			grants = append(grants, grant)
		}
	}
	if !slices.Contains(grants, broker.GrantAuthorizationCode) {
		return nil, invalid("grant_types does not have authorization_code.")
	}
	return grants, nil
}

func (m Metadata) scopes(policy broker.ClientPolicy) ([]string, error) {
	if m.Scopes == nil {
		return slices.Clone(policy.Scopes), nil
	}
	scopes := both(unique(m.Scopes), policy.Scopes)
	if len(scopes) == 0 {
		return nil, invalid("scope has none of the scopes that such a client may have: %s.", strings.Join(policy.Scopes, " "))
	}
	return scopes, nil
}

// defaultScopes returns what a request without a scope gets. A refresh token that outlives the browser session has to be asked for.
func defaultScopes(scopes []string) []string {
	return slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return scope == credential.ScopeOffline })
}

// name returns the name that pages show. One without visible letters counts as none. That of a document is the host of its id if there is
// no name, or one that may imitate another.
func name(claimed, id string, class broker.ClientClass) (string, error) {
	if directory.Lookalike(claimed) == "" {
		claimed = ""
	}
	if directory.Confusable(claimed) && class != broker.ClassDocument {
		return "", invalid("client_name mixes letters of different alphabets that look the same; write it in one alphabet.")
	}
	if class == broker.ClassDocument && (claimed == "" || directory.Confusable(claimed)) {
		if u, err := url.Parse(id); err == nil {
			return u.Host, nil
		}
	}
	return claimed, nil
}

// origins returns the web origins of redirect URIs: pages of browser-based clients call the token endpoint from there. A loopback URI
// without a port has none, because any port matches it.
func origins(uris []string) []string {
	var origins []string
	for _, uri := range uris {
		u, err := url.Parse(uri)
		switch {
		case err != nil || u.Host == "":
		case u.Scheme == "https":
			origins = append(origins, "https://"+strings.TrimSuffix(u.Host, ":443"))
		case u.Scheme == "http" && u.Port() != "":
			origins = append(origins, "http://"+strings.TrimSuffix(u.Host, ":80"))
		}
	}
	return unique(origins)
}

// refusal returns the error for a problem of package directory.
func refusal(key, message, hint string) error {
	code := broker.CodeInvalidClientMetadata
	text := key + " " + message
	switch key {
	case "redirect_uris":
		code = broker.CodeInvalidRedirectURI
	case "name":
		text = "client_name " + message
	case "":
		text = "The client " + message
	}
	if hint != "" {
		text += " (" + hint + ")"
	}
	return &broker.Error{Code: code, Message: text + "."}
}

// both returns the values of list that allowed also has.
func both(list, allowed []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(value string) bool { return !slices.Contains(allowed, value) })
}

// unique returns list without repeated values.
func unique(list []string) []string {
	var out []string
	for _, value := range list {
		if !slices.Contains(out, value) {
			out = append(out, value)
		}
	}
	return out
}
