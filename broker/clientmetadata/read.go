// Package clientmetadata makes clients of what they say about themselves: of the body of a registration (RFC 7591 §2), and of a
// Client ID Metadata Document (draft-ietf-oauth-client-id-metadata-document-03). It is pure: it reads no store and no network.
//
//	m, err := clientmetadata.Read(body)
//	client, err := m.Client(id, class, policy)
//
// [Apply] limits the record of such a client to what its class may have now.
package clientmetadata

import (
	"encoding/json"
	"fmt"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/internal/plainjson"
)

// The limits of metadata. The limits of single values are those of package directory.
const (
	maxBody  = 16 << 10 // bytes
	maxItems = 20       // of a list
)

// The values of token_endpoint_auth_method that the broker knows.
const (
	AuthNone       = "none"
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthPrivateKey = "private_key_jwt"
)

// Metadata is what a client says about itself. Nothing of it is checked but its types and its size. A member that was not sent is
// the zero value; a list that was sent is not nil.
type Metadata struct {
	ClientID, Name                        string
	RedirectURIs, PostLogoutURIs          []string
	GrantTypes, ResponseTypes             []string
	Scopes                                []string
	AuthMethod, ApplicationType           string
	JWKS                                  json.RawMessage
	JWKSURI                               string
	hasSecret, hasStatement, bothKeyKinds bool
}

// Read reads the JSON of metadata. Unknown members are ignored, also those that only a page for users would need, such as logo_uri.
// Two members of one name are refused. Errors: CodeInvalidClientMetadata.
func Read(body []byte) (Metadata, error) {
	if len(body) > maxBody {
		return Metadata{}, invalid("The metadata is larger than %d bytes.", maxBody)
	}
	members, err := plainjson.ReadUnambiguous(string(body))
	if err != nil {
		return Metadata{}, invalid("The metadata is not a JSON object with distinct members.")
	}
	var m Metadata
	for _, member := range members {
		if err := m.set(member.Name, member.Value); err != nil {
			return Metadata{}, err
		}
	}
	m.bothKeyKinds = m.JWKS != nil && m.JWKSURI != ""
	return m, nil
}

// set reads a member. A value of null counts as not sent.
func (m *Metadata) set(name, value string) (err error) {
	if value == "null" {
		return nil
	}
	switch name {
	case "client_id":
		m.ClientID, err = text(name, value)
	case "client_name":
		m.Name, err = text(name, value)
		m.Name = strings.TrimSpace(m.Name)
	case "redirect_uris":
		m.RedirectURIs, err = list(name, value)
	case "post_logout_redirect_uris":
		m.PostLogoutURIs, err = list(name, value)
	case "grant_types":
		m.GrantTypes, err = list(name, value)
	case "response_types":
		m.ResponseTypes, err = list(name, value)
	case "scope":
		var scope string
		if scope, err = text(name, value); scope != "" {
			m.Scopes = strings.Fields(scope)
		}
	case "token_endpoint_auth_method":
		m.AuthMethod, err = text(name, value)
	case "application_type":
		m.ApplicationType, err = text(name, value)
	case "jwks":
		if !strings.HasPrefix(value, "{") {
			return invalid("jwks is not a JSON object.")
		}
		m.JWKS = json.RawMessage(value)
	case "jwks_uri":
		m.JWKSURI, err = text(name, value)
	case "client_secret", "client_secret_expires_at":
		m.hasSecret = true
	case "software_statement":
		m.hasStatement = true
	}
	return err
}

func text(name, value string) (string, error) {
	s, err := plainjson.String(value)
	if err != nil {
		return "", invalid("%s is not a string.", name)
	}
	return s, nil
}

func list(name, value string) ([]string, error) {
	values, err := plainjson.Strings(value)
	switch {
	case err != nil:
		return nil, invalid("%s is not a list of strings.", name)
	case len(values) > maxItems:
		return nil, invalid("%s has %d items, more than %d.", name, len(values), maxItems)
	}
	return values, nil
}

func invalid(format string, args ...any) error {
	return &broker.Error{Code: broker.CodeInvalidClientMetadata, Message: fmt.Sprintf(format, args...)}
}
