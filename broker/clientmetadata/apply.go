package clientmetadata

import (
	"slices"
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
