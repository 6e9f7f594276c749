package directory

import (
	"crypto/sha256"
	"time"

	"tokenbroker/broker"
)

// NewClientRecord returns the record of a client, without the fields that only the broker sets.
func NewClientRecord(c broker.Client) ClientRecord {
	record := ClientRecord{
		V: RecordVersion, ID: c.ID, Name: c.Name, SecretHash: c.SecretHash, PreviousHash: c.PreviousHash,
		Scopes: c.Scopes, DefaultScopes: c.DefaultScopes, Audiences: c.Audiences, Grants: c.Grants,
		RedirectURIs: c.RedirectURIs, PostLogoutURIs: c.PostLogoutURIs, Origins: c.Origins, FirstParty: c.FirstParty,
		Lifetimes: ClientLifetimes{Access: seconds(c.AccessLife), Idle: seconds(c.Idle), Absolute: seconds(c.Absolute)},
		JWKS:      c.JWKS, JWKSURI: c.JWKSURI, Workloads: c.Workloads,
	}
	if c.Secret != "" {
		record.SecretHash = HashSecret(c.Secret)
	}
	if c.PreviousSecret != "" {
		record.PreviousHash = HashSecret(c.PreviousSecret)
	}
	if c.Grace != nil {
		grace := seconds(*c.Grace)
		record.Lifetimes.Grace = &grace
	}
	return record
}

// Client returns the client of the record, without its secrets' texts and the fields that only the broker sets.
func (c ClientRecord) Client() broker.Client {
	client := broker.Client{
		ID: c.ID, Name: c.Name, SecretHash: c.SecretHash, PreviousHash: c.PreviousHash,
		Scopes: c.Scopes, DefaultScopes: c.DefaultScopes, Audiences: c.Audiences, Grants: c.Grants,
		RedirectURIs: c.RedirectURIs, PostLogoutURIs: c.PostLogoutURIs, Origins: c.Origins, FirstParty: c.FirstParty,
		AccessLife: duration(c.Lifetimes.Access), Idle: duration(c.Lifetimes.Idle), Absolute: duration(c.Lifetimes.Absolute),
		JWKS: c.JWKS, JWKSURI: c.JWKSURI, Workloads: c.Workloads,
	}
	if c.Lifetimes.Grace != nil {
		grace := duration(*c.Lifetimes.Grace)
		client.Grace = &grace
	}
	return client
}

// HashSecret returns the hash of a client's secret.
func HashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

func duration(seconds int64) time.Duration { return time.Duration(seconds) * time.Second }
