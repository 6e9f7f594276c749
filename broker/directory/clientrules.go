package directory

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/internal/setting"
)

// Bounds of a client, in bytes unless stated.
const (
	maxClientID     = 128
	maxClientName   = 128
	maxClientValues = 100 // of a list
	maxScope        = 128
	maxAudience     = 255
	maxWorkloads    = 16 // of them
	maxWorkloadText = 512
	maxClientKeys   = 16
	maxClientRecord = 32 << 10 // each request of a client reads its record
)

var (
	clientID   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	scopeToken = regexp.MustCompile(`^[\x21\x23-\x5b\x5d-\x7e]+$`) // RFC 6749 §3.3
)

// grantNames are the names of grant types in the configuration and in the operators' API.
var grantNames = map[string]string{
	broker.GrantAuthorizationCode: broker.GrantAuthorizationCode, broker.GrantRefreshToken: broker.GrantRefreshToken,
	broker.GrantClientCredentials: broker.GrantClientCredentials, "token_exchange": broker.GrantTokenExchange,
}

// ScopeFlaw returns the rule that a scope breaks, or "". What to do follows a colon.
func ScopeFlaw(scope string) string {
	switch {
	case !scopeToken.MatchString(scope):
		return "is not a scope: printable characters without space, quote and backslash; one item each"
	case len(scope) > maxScope:
		return fmt.Sprintf("is longer than %d characters", maxScope)
	}
	return ""
}

// GrantTypes returns the grant types that names stand for, or nil for nil. An unknown name is its own grant type.
func GrantTypes(names []string) []string {
	if names == nil {
		return nil
	}
	types := make([]string, 0, len(names))
	for _, name := range names {
		if grant, known := grantNames[name]; known {
			name = grant
		}
		types = append(types, name)
	}
	return types
}

// GrantNames returns the names of grant types.
func GrantNames(types []string) []string {
	names := []string{}
	for _, grant := range types {
		for name, known := range grantNames {
			if known == grant {
				names = append(names, name)
			}
		}
	}
	return names
}

// ClientLimits are the bounds that the configuration of the broker sets to its clients.
type ClientLimits struct {
	// Policy has the broker's lifetimes, which are the longest that a client may have.
	Policy session.Policy
	// Shared is true if several brokers share the store.
	Shared bool
	// Class is how the broker knows the client. It decides which ids and settings the client may have.
	Class broker.ClientClass
}

// ValidateClient returns the problems of a client that the configuration names, an operator registers or that describes itself. The
// keys are those of a client in the configuration. It does not check secrets.
func ValidateClient(c broker.Client, limits ClientLimits) setting.Problems {
	v := &clientCheck{client: c, record: NewClientRecord(c), class: limits.Class}
	v.id(limits.Class)
	v.names()
	v.selfDescribed(limits.Class)
	v.grants()
	v.uris()
	v.lifetimes(limits)
	v.keys()
	v.workloads()
	if encoded, err := json.Marshal(v.record); len(v.problems) == 0 && (err != nil || len(encoded) > maxClientRecord) {
		v.problems.Add("", fmt.Sprintf("is larger than %d bytes in all", maxClientRecord), "make its lists shorter, or name its keys by jwks_uri")
	}
	return v.problems
}

// ValidateClientPolicy returns the problems of what clients of a class may have, with the keys of [ValidateClient].
func ValidateClientPolicy(p broker.ClientPolicy, limits ClientLimits) setting.Problems {
	v := &clientCheck{client: broker.Client{
		Scopes: p.Scopes, Audiences: p.Audiences, AccessLife: p.AccessLife, Idle: p.Idle, Absolute: p.Absolute, Grace: p.Grace,
	}}
	v.list("scopes", p.Scopes, ScopeFlaw)
	v.audiences()
	v.lifetimes(limits)
	return v.problems
}

// clientCheck collects the problems of a client.
type clientCheck struct {
	client   broker.Client
	record   ClientRecord
	class    broker.ClientClass
	problems setting.Problems
}

func (v *clientCheck) names() {
	c := v.client
	if f := textFlaw(c.Name, maxClientName); f != nil {
		v.problems.Add("name", f.Text, "it is shown to users")
	}
	v.list("scopes", c.Scopes, ScopeFlaw)
	v.list("default_scopes", c.DefaultScopes, ScopeFlaw)
	for _, scope := range c.DefaultScopes {
		if !slices.Contains(c.Scopes, scope) {
			v.problems.Add("default_scopes", strconv.Quote(scope)+" is not one of the client's scopes", "also add it to scopes")
		}
	}
	v.audiences()
}

func (v *clientCheck) audiences() {
	v.list("audiences", v.client.Audiences, func(audience string) string {
		if audience == "" || strings.TrimSpace(audience) != audience {
			return "is not the name of a service"
		}
		return textProblem(audience, maxAudience)
	})
}

// list reports the first problem of a list.
func (v *clientCheck) list(key string, values []string, flaw func(string) string) {
	if len(values) > maxClientValues {
		v.problems.Add(key, fmt.Sprintf("has %d items, more than %d", len(values), maxClientValues), "")
		return
	}
	for _, value := range values {
		if flaw := flaw(value); flaw != "" {
			message, hint, _ := strings.Cut(flaw, ": ")
			v.problems.Add(key, v.quoted(value)+" "+message, hint)
			return
		}
	}
}

// quoted returns the subject of a message: the value, shortened, or "has a value that" if the value may contain a password. The message
// about a document is shown to users, so it must not contain text that the document's author chose.
func (v *clientCheck) quoted(value string) string {
	if v.class == broker.ClassDocument || strings.Contains(value, "@") {
		return "has a value that"
	}
	return fmt.Sprintf("%.120q", value)
}

func textProblem(text string, limit int) string {
	if f := textFlaw(text, limit); f != nil {
		return f.Text
	}
	return ""
}

func (v *clientCheck) grants() {
	c := v.client
	v.list("grants", c.Grants, func(grant string) string {
		if len(GrantNames([]string{grant})) == 0 {
			return "is not a grant: authorization_code, refresh_token, client_credentials or token_exchange"
		}
		return ""
	})
	has := func(grant string) bool { return slices.Contains(c.Grants, grant) }
	switch code := has(broker.GrantAuthorizationCode); {
	case code && len(c.RedirectURIs) == 0:
		v.problems.Add("redirect_uris", "is missing, and grants has authorization_code", "the URIs that users are sent back to, such as https://app.example.com/callback")
	case !code && len(c.RedirectURIs) > 0:
		v.problems.Add("redirect_uris", "is set, but grants does not have authorization_code", "add authorization_code to grants, or remove redirect_uris")
	}
	for _, grant := range []string{broker.GrantClientCredentials, broker.GrantTokenExchange} {
		if has(grant) && v.record.Public() {
			v.problems.Add("grants", "has "+GrantNames([]string{grant})[0]+", which a public client may not use", "give the client a secret, jwks or workloads, or remove the grant")
		}
	}
}

func (v *clientCheck) uris() {
	v.list("redirect_uris", v.client.RedirectURIs, redirectURIFlaw)
	v.list("post_logout_redirect_uris", v.client.PostLogoutURIs, redirectURIFlaw)
	v.list("origins", v.client.Origins, originFlaw)
}

// lifetimes checks that no lifetime is longer than the broker's, and that they go together.
func (v *clientCheck) lifetimes(limits ClientLimits) {
	c, p := v.client, limits.Policy
	for _, l := range []struct {
		key          string
		value, limit time.Duration
	}{
		{"access_token", c.AccessLife, p.AccessLife}, {"session_idle", c.Idle, p.Idle}, {"session_absolute", c.Absolute, p.Absolute},
	} {
		v.lifetime(l.key, l.value, l.limit)
	}
	grace := p.Grace
	if c.Grace != nil {
		grace = *c.Grace
		v.lifetime("refresh_grace", grace, p.Grace)
		shared := session.Policy{Grace: grace}
		if limits.Shared && len(shared.CheckShared()) > 0 {
			v.problems.Add("refresh_grace", "is shorter than 5s, and several brokers share the store", "the clocks of two brokers may differ by seconds: as 10s, or 0s for no grace")
		}
	}
	idle, access := longest(c.Idle, p.Idle), longest(c.AccessLife, p.AccessLife)
	switch {
	case c.Idle > 0 && c.Absolute > 0 && c.Idle > c.Absolute:
		v.problems.Add("session_idle", "is longer than session_absolute, "+setting.Duration(c.Absolute).String(), "make it that or shorter")
	case c.Idle > 0 && idle < access+grace:
		v.problems.Add("session_idle", "is shorter than access_token and refresh_grace together", "sessions would end before their next refresh: as 1h")
	}
}

// longest returns a client's lifetime, or the broker's if the client has none.
func longest(own, brokers time.Duration) time.Duration {
	if own > 0 {
		return own
	}
	return brokers
}

func (v *clientCheck) lifetime(key string, value, limit time.Duration) {
	switch {
	case value < 0:
		v.problems.Add(key, "is negative", "leave it out for the broker's own lifetime")
	case value%time.Second != 0:
		v.problems.Add(key, "is not whole seconds", "")
	case value > 0 && value > limit:
		v.problems.Add(key, "is longer than the broker's own lifetime, "+setting.Duration(limit).String(), "make it that or shorter, or change lifetimes."+key)
	}
}
