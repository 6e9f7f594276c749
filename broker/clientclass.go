package broker

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// ClientClass says how the broker knows an OAuth client.
type ClientClass string

// The classes. A client of ClassDocument or ClassRegistered describes itself: nobody checked its name and its other metadata.
const (
	ClassKnown      ClientClass = ""           // the configuration or an operator named it
	ClassDocument   ClientClass = "document"   // its id is the URL of its Client ID Metadata Document
	ClassRegistered ClientClass = "registered" // it registered itself (RFC 7591)
)

// ClientPolicy is what clients of a class other than ClassKnown may have. It applies at each use of a client, so a change affects
// clients that exist.
type ClientPolicy struct {
	// Scopes are the scopes that such a client may have. Audiences are the audiences of its tokens; if empty, the broker's.
	Scopes, Audiences []string
	// AccessLife, Idle, Absolute and Grace are as in [Client].
	AccessLife, Idle, Absolute time.Duration
	Grace                      *time.Duration
	// RefreshTokens is whether such a client may have refresh tokens.
	RefreshTokens bool
}

// ErrClientDocument is the error for a Client ID Metadata Document that cannot be used: the URL has another answer than a document,
// or may not be fetched. Its text has the reason and nothing of the answer's body.
var ErrClientDocument = errors.New("client metadata document refused")

// ErrClientKeys is the error for the keys of a client that describes itself, if they cannot be read now.
var ErrClientKeys = errors.New("the keys that the client names cannot be read")

// ClientDocuments reads Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document-03 §5). Implementations must be
// safe for concurrent use.
type ClientDocuments interface {
	// Document returns the JSON document at a URL that directory.DocumentIDFlaw accepts. It is from memory for as long as the headers
	// of the answer allow. Callers must not change it. An error wraps [ErrClientDocument], or [ErrUpstreamUnavailable] if the
	// document cannot be read now.
	Document(ctx context.Context, url string) (json.RawMessage, error)
}

// The codes of client registration (RFC 7591 §3.2.2).
const (
	CodeInvalidRedirectURI    Code = "invalid_redirect_uri"
	CodeInvalidClientMetadata Code = "invalid_client_metadata"
	// CodeUnapprovedSoftware is the refusal of a software statement: the broker trusts no issuer of them.
	CodeUnapprovedSoftware Code = "unapproved_software_statement"
)

// ClientRegistration is what a client that registered itself gets (RFC 7591 §3.2.1, RFC 7592 §3).
type ClientRegistration struct {
	ClientID string
	// Secret is only in the answer to the registration, and only if the client authenticates by a secret. Token is the registration
	// access token, also only in that answer.
	Secret, Token string
	IssuedAt      time.Time
	// Metadata are the registered values by their names in RFC 7591 §2.
	Metadata map[string]any
}
