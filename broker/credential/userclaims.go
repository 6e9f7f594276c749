package credential

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"tokenbroker/broker/session"
	"tokenbroker/internal/plainjson"
)

// The scopes of OpenID Connect (Core 1.0 §5.4 and §11), and groups.
const (
	ScopeOpenID  = "openid"
	ScopeProfile = "profile"
	ScopeEmail   = "email"
	ScopePhone   = "phone"
	ScopeAddress = "address"
	ScopeGroups  = "groups"
	ScopeOffline = "offline_access"
)

// OpenIDScope reports whether the scope is one of OpenID Connect, which no service but userinfo grants access by.
func OpenIDScope(scope string) bool {
	switch scope {
	case ScopeOpenID, ScopeProfile, ScopeEmail, ScopePhone, ScopeAddress, ScopeGroups, ScopeOffline:
		return true
	}
	return false
}

// userClaims are the names of the claims about users, by scope.
var userClaims = map[string][]string{
	ScopeProfile: {
		"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender",
		"birthdate", "zoneinfo", "locale", "updated_at",
	},
	ScopeEmail:   {"email", "email_verified"},
	ScopePhone:   {"phone_number", "phone_number_verified"},
	ScopeAddress: {"address"},
	ScopeGroups:  {"groups"},
}

// ClaimScope returns the scope that a claim about users belongs to, or "" if there is no such claim.
func ClaimScope(name string) string {
	for scope, names := range userClaims {
		if slices.Contains(names, name) {
			return scope
		}
	}
	return ""
}

// ClaimNames returns the names of the claims about users, sorted.
func ClaimNames() []string {
	var all []string
	for _, names := range userClaims {
		all = append(all, names...)
	}
	slices.Sort(all)
	return all
}

// UserClaims returns the claims about the user that the scopes allow, and those with the names (OpenID Connect Core 1.0 §5.1 and
// §5.4). A claim that the user does not have, or whose value has another type than the claim, is left out. The sub is not
// among them.
func UserClaims(u *session.User, scopes, names []string) map[string]any {
	claims := map[string]any{}
	add := func(name string) {
		if value := userClaim(u, name); value != nil {
			claims[name] = value
		}
	}
	for _, scope := range scopes {
		for _, name := range userClaims[scope] {
			add(name)
		}
	}
	for _, name := range names {
		if ClaimScope(name) != "" {
			add(name)
		}
	}
	return claims
}

// userClaim returns the value of a claim, or nil.
func userClaim(u *session.User, name string) any {
	value := u.Attributes[name]
	switch name {
	case "groups":
		if len(u.Groups) == 0 {
			return nil
		}
		return u.Groups
	case "email_verified", "phone_number_verified":
		return boolClaim(value)
	case "updated_at":
		return timeClaim(value)
	case "address":
		return addressClaim(value)
	}
	text, _ := value.(string)
	if text == "" && name == "preferred_username" {
		text = u.Username
	}
	if text == "" {
		return nil
	}
	return text
}

// boolClaim accepts the texts that Cognito sends for booleans.
func boolClaim(value any) any {
	switch value {
	case true, "true":
		return true
	case false, "false":
		return false
	}
	return nil
}

// timeClaim returns seconds since 1970 of a number or its text.
func timeClaim(value any) any {
	switch v := value.(type) {
	case float64:
		if v > 0 && v < 1<<53 {
			return int64(v)
		}
	case json.Number:
		return timeClaim(v.String())
	case int64:
		return v
	case int:
		return int64(v)
	case string:
		if seconds, err := strconv.ParseInt(v, 10, 64); err == nil && seconds > 0 {
			return seconds
		}
	}
	return nil
}

// addressMembers are those of OpenID Connect Core 1.0 §5.1.1.
var addressMembers = []string{"formatted", "street_address", "locality", "region", "postal_code", "country"}

// addressClaim returns an address object of an object, of its JSON text or of a plain text, as which Cognito keeps addresses.
func addressClaim(value any) any {
	address := map[string]any{}
	switch v := value.(type) {
	case map[string]any:
		for _, name := range addressMembers {
			if text, _ := v[name].(string); text != "" {
				address[name] = text
			}
		}
	case string:
		members, err := plainjson.ReadObject(v, nil)
		if err != nil {
			if v = strings.TrimSpace(v); v != "" {
				address["formatted"] = v
			}
			break
		}
		for _, m := range members {
			if text, err := plainjson.String(m.Value); err == nil && text != "" && slices.Contains(addressMembers, m.Name) {
				address[m.Name] = text
			}
		}
	}
	if len(address) == 0 {
		return nil
	}
	return address
}
