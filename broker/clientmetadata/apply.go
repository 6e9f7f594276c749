package clientmetadata

import (
	"slices"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
)

// Apply returns the record of a client that describes itself, with what its class may have now: a change of the policy affects clients
// that exist. Its lists share no memory with record.
func Apply(record directory.ClientRecord, policy broker.ClientPolicy) directory.ClientRecord {
	record.FirstParty, record.Workloads = false, nil
	record.Scopes = both(record.Scopes, policy.Scopes)
	record.DefaultScopes = both(record.DefaultScopes, policy.Scopes)
	record.Audiences = slices.Clone(policy.Audiences)
	allowed := []string{broker.GrantAuthorizationCode}
	if policy.RefreshTokens {
		allowed = append(allowed, broker.GrantRefreshToken)
	}
	record.Grants = both(record.Grants, allowed)
	record.Lifetimes = directory.ClientLifetimes{Access: seconds(policy.AccessLife), Idle: seconds(policy.Idle), Absolute: seconds(policy.Absolute)}
	if policy.Grace != nil {
		record.Lifetimes.Grace = new(seconds(*policy.Grace))
	}
	return record
}

// seconds returns a lifetime of a record. A lifetime that is set is not zero there, which would mean the broker's.
func seconds(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return max(1, int64(d/time.Second))
}

// Members returns the metadata of the record of a client that registered itself, by their names in RFC 7591 §2.
func Members(record directory.ClientRecord) map[string]any {
	members := map[string]any{
		"redirect_uris": record.RedirectURIs, "grant_types": record.Grants, "response_types": []string{"code"}, "scope": strings.Join(record.Scopes, " "),
	}
	optional := map[string]string{"client_name": record.Name, "jwks_uri": record.JWKSURI}
	if r := record.Registration; r != nil {
		optional["token_endpoint_auth_method"], optional["application_type"] = r.AuthMethod, r.ApplicationType
	}
	for name, value := range optional {
		if value != "" {
			members[name] = value
		}
	}
	if len(record.PostLogoutURIs) > 0 {
		members["post_logout_redirect_uris"] = record.PostLogoutURIs
	}
	if len(record.JWKS) > 0 {
		members["jwks"] = record.JWKS
	}
	return members
}
