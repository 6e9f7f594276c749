package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"time"
)

// The codes of OAuth 2.1 and OpenID Connect, as clients see them. They are the texts of RFC 6749 §4.1.2.1 and §5.2,
// RFC 8707 §2 and OpenID Connect Core 1.0 §3.1.2.6.
const (
	CodeInvalidRequest           Code = "invalid_request"
	CodeInvalidGrant             Code = "invalid_grant"
	CodeUnauthorizedClient       Code = "unauthorized_client"
	CodeUnsupportedGrantType     Code = "unsupported_grant_type"
	CodeUnsupportedResponseType  Code = "unsupported_response_type"
	CodeUnsupportedTokenType     Code = "unsupported_token_type"
	CodeInvalidScope             Code = "invalid_scope"
	CodeInvalidTarget            Code = "invalid_target"
	CodeInvalidToken             Code = "invalid_token"
	CodeInsufficientScope        Code = "insufficient_scope"
	CodeAccessDenied             Code = "access_denied"
	CodeLoginRequired            Code = "login_required"
	CodeConsentRequired          Code = "consent_required"
	CodeInteractionRequired      Code = "interaction_required"
	CodeAccountSelectionRequired Code = "account_selection_required"
	CodeRequestNotSupported      Code = "request_not_supported"
	CodeRequestURINotSupported   Code = "request_uri_not_supported"
	// CodeInvalidRedirect is the refusal of an authorization or log-out request that names no known client or redirect
	// URI. It is shown on a page and never sent to a redirect URI.
	CodeInvalidRedirect Code = "invalid_redirect"
	// CodeInvalidClientConfig is the refusal of an operator's change of a client.
	CodeInvalidClientConfig Code = "invalid_client_configuration"
	CodeClientExists        Code = "client_exists"
)

// The grant types of clients (RFC 6749, RFC 8693).
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantClientCredentials = "client_credentials"
	GrantTokenExchange     = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// ClientCredentials are what a client sent to authenticate: nothing but its id (none), a secret (RFC 6749 §2.3.1) or an
// assertion (RFC 7523 §2.2).
type ClientCredentials struct {
	ID string
	// Secrets are the readings of the one secret that was sent.
	Secrets                  []string
	Assertion, AssertionType string
}

// Workload is an identity of another issuer, such as the service account of a Kubernetes cluster or a job of a CI system, whose
// tokens a client presents as assertions. All of its members are compared exactly. JWKSURI is where the issuer's keys are; if it
// is empty, they are found by discovery.
type Workload struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	JWKSURI  string `json:"jwks_uri,omitempty"`
}

// AssertionType is the client_assertion_type of a JWT (RFC 7523 §2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// AssertionKeys are the keys of assertions: JWKS, or the key set at JWKSURI, or, if both are empty, that which discovery finds at
// Issuer.
type AssertionKeys struct {
	JWKS            json.RawMessage
	JWKSURI, Issuer string
	// Untrusted is true if the client itself named JWKSURI: then it must be public, or on loopback if that is allowed for
	// development.
	Untrusted bool
}

// Assertion has the claims of a signed assertion (RFC 7523 §3). A claim that the assertion does not have is the zero value.
type Assertion struct {
	// Type is the typ of the header.
	Type            string
	Issuer, Subject string
	Audience        []string
	ID              string // jti

	IssuedAt, NotBefore, ExpiresAt time.Time
}

// ErrAssertion is the refusal of an [Assertions].
var ErrAssertion = errors.New("assertion refused")

// Assertions verifies the assertions by which clients authenticate. Implementations must be safe for concurrent use.
type Assertions interface {
	// Verify checks the signature of a JWT by keys, with asymmetric algorithms only, and returns its claims. It checks no claim
	// and no time. An error wraps [ErrAssertion], or [ErrUpstreamUnavailable] if the keys cannot be read.
	Verify(ctx context.Context, assertion string, keys AssertionKeys) (Assertion, error)
}

// TokenRequest is a request to the token endpoint. A parameter that was not sent is empty.
type TokenRequest struct {
	Client                         ClientCredentials
	GrantType                      string
	Code, RedirectURI, Verifier    string
	RefreshToken                   string
	Scope                          string
	Resources, Audiences           []string
	SubjectToken, SubjectTokenType string
	ActorToken, ActorTokenType     string
	RequestedTokenType             string
	// Unused are the names of the other parameters that were sent, for requests that contradict their grant type.
	Unused []string
}

// TokenAnswer is an answer of the token endpoint (RFC 6749 §5.1, RFC 8693 §2.2.1). A member that is empty is left out.
type TokenAnswer struct {
	AccessToken     string
	ExpiresIn       time.Duration
	RefreshToken    string
	IDToken         string
	Scope           string
	IssuedTokenType string
	// ClientID is the client that the tokens are for.
	ClientID string
}

// AuthorizationRequest is a request to the authorization endpoint, as a browser sent it.
type AuthorizationRequest struct {
	Params url.Values
	// RefreshToken is the token of the browser's cookie, or empty.
	RefreshToken string
}

// AuthorizationStep is what has to happen next with an authorization request.
type AuthorizationStep string

// The steps.
const (
	StepSignIn   AuthorizationStep = "sign_in"  // show the sign-in page
	StepConsent  AuthorizationStep = "consent"  // show the consent page
	StepRedirect AuthorizationStep = "redirect" // send Answer to RedirectURI
)

// Authorization is the decision about an authorization request.
type Authorization struct {
	Step AuthorizationStep
	// ClientID and ClientName are the client; ClientName is never empty.
	ClientID, ClientName string
	// Class is how the broker knows the client. The name of a client that is not of ClassKnown is its own claim.
	Class ClientClass
	// RedirectURI is where Answer goes, in the way that ResponseMode says: "query" or "form_post". Answer has the
	// parameters code, state and iss, or error, error_description, state and iss.
	RedirectURI, ResponseMode string
	Answer                    url.Values

	// Continue is the parameter [ContinueParam] that the request has to carry after the sign-in, so that prompt and
	// max_age count as satisfied by it. LoginHint is the request's, and Hints are for [Request.Hints] of a sign-in at a provider.
	Continue, LoginHint string
	Hints               LoginHints

	// Scopes are what the consent page asks for. UserName is the signed-in user, and CSRFToken the token of the session.
	Scopes    []string
	UserName  string
	CSRFToken string
}

// ContinueParam is the parameter of an authorization request that proves that the browser signed in for the request.
const ContinueParam = "tb_continue"

// ReturnParam is the parameter of a request that a page of the broker repeated for a browser (docs/decisions/0049).
const ReturnParam = "tb_return"

// The length of the longest authorization request in bytes, as an encoded query without [ContinueParam] and [ReturnParam]. No page
// has to carry a request with prompt=none along, and it may have an id_token_hint of a user with many groups.
const (
	MaxAuthorizationQuery = 2048
	MaxSilentQuery        = 16 << 10
)

// AuthorizationLimit returns the length of the longest authorization request that has the parameter prompt.
func AuthorizationLimit(prompt string) int {
	if prompt == "none" {
		return MaxSilentQuery
	}
	return MaxAuthorizationQuery
}

// ConsentDecision is a user's answer on the consent page.
type ConsentDecision struct {
	Allow     bool
	CSRFToken string
	// Scopes are those that the page showed. If the request now asks for others, the page is shown again.
	Scopes []string
}

// UserInfo is the answer of the userinfo endpoint (OpenID Connect Core 1.0 §5.3.2).
type UserInfo struct {
	Claims   map[string]any
	ClientID string
}

// RefreshTokenInfo is what introspection shows of a refresh token (RFC 7662 §2.2).
type RefreshTokenInfo struct {
	Subject, ClientID, Scope, SID string
	IssuedAt, ExpiresAt           time.Time
}

// EndSessionRequest is a request to the log-out endpoint (OpenID Connect RP-Initiated Logout 1.0 §2).
type EndSessionRequest struct {
	IDTokenHint, ClientID, PostLogoutURI, State string
	// RefreshToken is the token of the browser's cookie, or empty.
	RefreshToken string
	// CSRFToken is that of the form on the confirmation page, or empty.
	CSRFToken string
}

// EndSession is the decision about a log-out request.
type EndSession struct {
	// Ask is true if the user has to confirm. Otherwise LogOff says whether there is a session to end, and CSRFToken is
	// that session's.
	Ask, LogOff bool
	CSRFToken   string
	UserName    string
	ClientName  string
	// Class is how the broker knows the client.
	Class ClientClass
	// RedirectURL is where to send the browser afterwards, with the state, or empty for the signed-out page.
	RedirectURL string
}
