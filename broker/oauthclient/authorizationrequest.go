package oauthclient

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"tokenbroker/broker"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/directory"
	"tokenbroker/internal/plainjson"
)

const (
	maxResources  = 8
	maxNonce      = 512 // bytes; the nonce is part of the code
	maxLoginHint  = 512 // bytes
	challengeSize = 43  // base64url of a SHA-256
)

// The response modes.
const (
	modeQuery    = "query"
	modeFormPost = "form_post"
)

// authorizationRequest is a valid request to the authorization endpoint.
type authorizationRequest struct {
	client       directory.ClientRecord // its Name is the one for pages
	answer       answerTo
	challenge    string
	nonce        string
	scopes       []string // what may be granted
	resources    []string
	audience     []string
	prompt       prompt
	maxAge       int64 // seconds, or -1
	hints        broker.LoginHints
	idTokenHint  string
	claims       requestedClaims
	canonical    string // the parameters, for the continue token
	continuation string // the continue token
}

// answerTo is where the answer to an authorization request goes.
type answerTo struct {
	redirectURI, mode, state string
}

// prompt is the parameter prompt (OpenID Connect Core 1.0 §3.1.2.1).
type prompt struct{ none, login, consent, selectAccount bool }

// requestedClaims is the parameter claims (OpenID Connect Core 1.0 §5.5), without the claims that the client may not ask for.
type requestedClaims struct {
	userInfo, idToken []string
	// scopes are those that the claims belong to.
	scopes []string
	// subject is the only user to whom the request may be answered, or empty. acrs are the values of an essential acr.
	subject string
	acrs    []string
}

// consentScopes are the scopes that the user has to allow.
func (r *authorizationRequest) consentScopes() []string {
	all := slices.Clone(r.scopes)
	for _, scope := range r.claims.scopes {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}

// singleParams are the parameters that a request must not repeat (OAuth 2.1 §3.1). Parameters that are not known are ignored.
var singleParams = []string{
	"acr_values", "claims", "claims_locales", "client_id", "code_challenge", "code_challenge_method", "display", "id_token_hint", "login_hint",
	"max_age", "nonce", "prompt", "redirect_uri", "registration", "request", "request_uri", "response_mode", "response_type", "scope", "state", "ui_locales",
	broker.ContinueParam, broker.ReturnParam,
}

// oauthError returns a refusal with a code of the standards.
func oauthError(code broker.Code, message string) *broker.Error {
	return &broker.Error{Code: code, Message: message}
}

// answerOf returns where the answer to a request goes whose redirect URI is good, also if the rest of it is not.
func answerOf(params url.Values) answerTo {
	to := answerTo{redirectURI: params.Get("redirect_uri"), mode: modeQuery}
	if mode := params["response_mode"]; len(mode) == 1 && mode[0] == modeFormPost {
		to.mode = modeFormPost
	}
	if state := params["state"]; len(state) == 1 && len(state[0]) <= broker.MaxAuthorizationQuery && printable(state[0]) {
		to.state = state[0]
	}
	return to
}

// printable reports whether a text is UTF-8 without control characters.
func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// canonicalOf returns the parameters as one text, without those that the broker itself adds.
func canonicalOf(params url.Values) string {
	own := url.Values{}
	for name, values := range params {
		if name != broker.ContinueParam && name != broker.ReturnParam {
			own[name] = values
		}
	}
	return own.Encode()
}

// checkParams checks the form of the parameters.
func checkParams(params url.Values) error {
	for _, name := range singleParams {
		if len(params[name]) > 1 {
			return oauthError(broker.CodeInvalidRequest, "The parameter "+name+" is repeated.")
		}
		text := params.Get(name)
		if name == "claims" {
			text = strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(text) // white space of JSON
		}
		if !printable(text) {
			return oauthError(broker.CodeInvalidRequest, "The parameter "+name+" contains characters that do not print.")
		}
	}
	return nil
}

// parseRequest checks the parameters of a request of the client, whose redirect URI is good. It needs no store and no clock.
func (svc *Service) parseRequest(client directory.ClientRecord, params url.Values) (*authorizationRequest, error) {
	canonical := canonicalOf(params)
	if limit := broker.AuthorizationLimit(params.Get("prompt")); len(canonical) > limit {
		return nil, oauthError(broker.CodeInvalidRequest, "The authorization request is longer than "+strconv.Itoa(limit)+" bytes.")
	}
	if err := checkParams(params); err != nil {
		return nil, err
	}
	if !slices.Contains(client.Grants, broker.GrantAuthorizationCode) {
		return nil, oauthError(broker.CodeUnauthorizedClient, "The client may not use the authorization code grant.")
	}
	r := &authorizationRequest{
		client: client, answer: answerOf(params), challenge: params.Get("code_challenge"), nonce: params.Get("nonce"), maxAge: -1,
		idTokenHint: params.Get("id_token_hint"), canonical: canonical, continuation: params.Get(broker.ContinueParam),
	}
	if err := checkResponse(params); err != nil {
		return nil, err
	}
	if err := checkChallenge(params); err != nil {
		return nil, err
	}
	var err error
	if r.scopes, err = grantable(client, params.Get("scope")); err != nil {
		return nil, err
	}
	if r.resources, r.audience, err = svc.target(client, r.scopes, params["resource"]); err != nil {
		return nil, err
	}
	if r.prompt, err = parsePrompt(params.Get("prompt")); err != nil {
		return nil, err
	}
	if text := params.Get("max_age"); text != "" {
		age, malformed := strconv.ParseUint(text, 10, 32)
		if malformed != nil {
			return nil, oauthError(broker.CodeInvalidRequest, "max_age is not a number of seconds.")
		}
		r.maxAge = int64(age)
	}
	if r.claims, err = parseClaims(client, r.scopes, params.Get("claims")); err != nil {
		return nil, err
	}
	if len(r.nonce) > maxNonce {
		return nil, oauthError(broker.CodeInvalidRequest, "The nonce is longer than "+strconv.Itoa(maxNonce)+" bytes.")
	}
	r.hints = broker.LoginHints{LoginHint: hintOf(params, "login_hint"), ACRValues: hintOf(params, "acr_values")}
	if r.maxAge >= 0 {
		r.hints.MaxAge = strconv.FormatInt(r.maxAge, 10)
	}
	switch {
	case r.prompt.login:
		r.hints.Prompt = "login"
	case r.prompt.selectAccount:
		r.hints.Prompt = "select_account"
	}
	return r, nil
}

// hintOf returns a parameter that is only a hint: one that is too long for a provider is ignored.
func hintOf(params url.Values, name string) string {
	if text := params.Get(name); len(text) <= maxLoginHint {
		return text
	}
	return ""
}

// checkResponse checks what kind of answer the request asks for, and that its parameters are not in a request object.
func checkResponse(params url.Values) error {
	switch params.Get("response_type") {
	case "code":
	case "":
		return oauthError(broker.CodeInvalidRequest, "response_type is missing.")
	default:
		return oauthError(broker.CodeUnsupportedResponseType, "The only response_type is code.")
	}
	switch params.Get("response_mode") {
	case "", modeQuery, modeFormPost:
	default:
		return oauthError(broker.CodeInvalidRequest, "The response modes are query and form_post.")
	}
	switch {
	case params.Get("request") != "":
		return oauthError(broker.CodeRequestNotSupported, "Request objects are not supported.")
	case params.Get("request_uri") != "":
		return oauthError(broker.CodeRequestURINotSupported, "Request objects are not supported.")
	}
	return nil
}

// checkChallenge checks the parameters of PKCE, which every client has to use with S256 (OAuth 2.1 §4.1.1, RFC 7636 §4.2).
func checkChallenge(params url.Values) error {
	challenge := params.Get("code_challenge")
	switch {
	case challenge == "":
		return oauthError(broker.CodeInvalidRequest, "code_challenge is missing; PKCE is required.")
	case params.Get("code_challenge_method") != "S256": // a missing one means plain
		return oauthError(broker.CodeInvalidRequest, "code_challenge_method has to be S256.")
	case len(challenge) != challengeSize || strings.ContainsFunc(challenge, notBase64URL):
		return oauthError(broker.CodeInvalidRequest, "code_challenge is not the base64url text of a SHA-256 hash.")
	}
	return nil
}

func notBase64URL(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// grantable returns the scopes of a request that the client may get, or its default scopes if the request names none.
func grantable(client directory.ClientRecord, text string) ([]string, error) {
	asked, err := parseScope(text)
	if err != nil {
		return nil, err
	}
	if len(asked) == 0 {
		asked = client.DefaultScopes
	}
	scopes := intersect(asked, client.Scopes)
	if !slices.Contains(client.Grants, broker.GrantRefreshToken) {
		scopes = slices.DeleteFunc(scopes, func(scope string) bool { return scope == credential.ScopeOffline })
	}
	if len(scopes) == 0 {
		return nil, errNoScope()
	}
	return scopes, nil
}

func parsePrompt(text string) (p prompt, err error) {
	for _, value := range strings.Fields(text) {
		switch value {
		case "none":
			p.none = true
		case "login":
			p.login = true
		case "consent":
			p.consent = true
		case "select_account":
			p.selectAccount = true
		default:
			return prompt{}, oauthError(broker.CodeInvalidRequest, "prompt has a value that is not supported.")
		}
	}
	if p.none && p != (prompt{none: true}) {
		return prompt{}, oauthError(broker.CodeInvalidRequest, "prompt=none is used with another value.")
	}
	return p, nil
}

// parseClaims reads the parameter claims. Claims that are not known, or whose scope the client may not use, are ignored, and so
// is the whole parameter without the scope openid.
func parseClaims(client directory.ClientRecord, scopes []string, text string) (requestedClaims, error) {
	var c requestedClaims
	malformed := oauthError(broker.CodeInvalidRequest, "claims is not a JSON object as in OpenID Connect Core 1.0, section 5.5.")
	if text == "" {
		return c, nil
	}
	top, err := plainjson.ReadObject(text, nil)
	if err != nil {
		return c, malformed
	}
	openID := slices.Contains(scopes, credential.ScopeOpenID)
	for _, place := range top {
		if place.Name != "userinfo" && place.Name != "id_token" {
			continue
		}
		members, err := plainjson.ReadObject(place.Value, nil)
		if err != nil {
			return c, malformed
		}
		for _, m := range members {
			wanted, ok := parseClaim(m.Value)
			if !ok {
				return requestedClaims{}, malformed
			}
			if openID {
				c.add(client, place.Name, m.Name, wanted)
			}
		}
	}
	return c, nil
}

// wantedClaim is the request of one claim.
type wantedClaim struct {
	essential bool
	values    []string // the texts among value and values
}

func parseClaim(text string) (c wantedClaim, ok bool) {
	if text == "null" {
		return c, true
	}
	members, err := plainjson.ReadObject(text, nil)
	if err != nil {
		return c, false
	}
	for _, m := range members {
		switch m.Name {
		case "essential":
			if m.Value != "true" && m.Value != "false" {
				return c, false
			}
			c.essential = m.Value == "true"
		case "value":
			if value, err := plainjson.String(m.Value); err == nil {
				c.values = append(c.values, value)
			}
		case "values":
			if values, err := plainjson.Strings(m.Value); err == nil {
				c.values = append(c.values, values...)
			}
		}
	}
	return c, true
}

// add adds the claim name of the member place.
func (c *requestedClaims) add(client directory.ClientRecord, place, name string, wanted wantedClaim) {
	switch {
	case place == "id_token" && name == "sub" && len(wanted.values) == 1:
		c.subject = wanted.values[0]
	case place == "id_token" && name == "acr" && wanted.essential:
		c.acrs = wanted.values
	}
	scope := credential.ClaimScope(name)
	if scope == "" || !slices.Contains(client.Scopes, scope) {
		return
	}
	if place == "userinfo" {
		c.userInfo = append(c.userInfo, name)
	} else {
		c.idToken = append(c.idToken, name)
	}
	if !slices.Contains(c.scopes, scope) {
		c.scopes = append(c.scopes, scope)
	}
}

// target returns the resources that a request names, and the aud of the access tokens for the scopes and resources. A token whose
// scopes are all of OpenID Connect, and that is for no resource, is for the broker itself.
func (svc *Service) target(client directory.ClientRecord, scopes, requested []string) (resources, audience []string, err error) {
	for _, resource := range requested {
		if resource != "" && !slices.Contains(resources, resource) { // OAuth 2.1 §3.1
			resources = append(resources, resource)
		}
	}
	if len(requested) > maxResources {
		return nil, nil, oauthError(broker.CodeInvalidTarget, "The request names more than "+strconv.Itoa(maxResources)+" resources.")
	}
	if len(resources) == 0 && onlyOpenID(scopes) {
		return nil, []string{svc.cfg.Issuer}, nil
	}
	audience, err = svc.narrow(svc.audiences(client), resources, nil)
	return resources, audience, err
}
