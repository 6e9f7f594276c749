package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tokenbroker/store"
)

// Client is a client as the configuration gives it.
type Client struct {
	ID string
	// Secret of a confidential client: random, 256 bits; or SecretHash, its SHA-256. Both are
	// empty for a public one.
	Secret     string
	SecretHash []byte
	Scopes     []string
}

// clientPage is how many client records are read at a time.
const clientPage = 100

// clientRecord is the record client.<id>.
type clientRecord struct {
	V          int      `json:"v"`
	ID         string   `json:"id"`
	SecretHash []byte   `json:"secret_hash,omitempty"`
	Scopes     []string `json:"scopes,omitempty"`
	// Epoch: this client's sessions and tokens with a lower cep are dead.
	Epoch int64 `json:"epoch,omitempty"`
	// Removed: it is no longer configured; the record stays for its epoch.
	Removed bool `json:"removed,omitempty"`
}

// readClient returns the client's record; the zero record when there is none.
func readClient(ctx context.Context, r store.Reader, id string) (client clientRecord, rev store.Revision, err error) {
	rev, err = readRecord(ctx, r, "client", clientKey(id), &client, &client.V)
	return client, rev, err
}

// PutClient makes or changes a client to what c says, keeping its epoch. Safe for
// concurrent use; it writes nothing when nothing changes.
func (b *Broker) PutClient(ctx context.Context, c Client) error {
	wanted := clientRecord{V: 1, ID: c.ID, Scopes: c.Scopes, SecretHash: c.SecretHash}
	if c.Secret != "" {
		sum := sha256.Sum256([]byte(c.Secret))
		wanted.SecretHash = sum[:]
	}
	return b.putClient(ctx, wanted)
}

// SetClients makes the clients to what the list says: as [Broker.PutClient] for each, and
// those that are not in it can no longer authenticate. Their records keep their epochs.
func (b *Broker) SetClients(ctx context.Context, clients []Client) error {
	wanted := make(map[string]bool, len(clients))
	for _, c := range clients {
		wanted[c.ID] = true
		if err := b.PutClient(ctx, c); err != nil {
			return fmt.Errorf("writing client %q: %w", c.ID, err)
		}
	}
	prefix, after := clientKey(""), ""
	for {
		page, err := b.cfg.Store.List(ctx, prefix, after, clientPage)
		if err != nil {
			return fmt.Errorf("listing clients: %w", err)
		}
		for _, rec := range page {
			after = rec.Key
			id := strings.TrimPrefix(rec.Key, prefix)
			if wanted[id] {
				continue
			}
			if err := b.putClient(ctx, clientRecord{V: 1, ID: id, Removed: true}); err != nil {
				return fmt.Errorf("removing client %q: %w", id, err)
			}
		}
		if len(page) < clientPage {
			return nil
		}
	}
}

// putClient writes wanted with the epoch on record, unless it is there already.
func (b *Broker) putClient(ctx context.Context, wanted clientRecord) error {
	return b.retryConflicts(ctx, func() (*store.Change, error) {
		stored, rev, err := readClient(ctx, b.cfg.Store, wanted.ID)
		if err != nil {
			return nil, err
		}
		if rev != 0 && bytes.Equal(stored.SecretHash, wanted.SecretHash) && slices.Equal(stored.Scopes, wanted.Scopes) &&
			stored.Removed == wanted.Removed {
			return nil, nil
		}
		wanted.Epoch = stored.Epoch
		value, err := json.Marshal(wanted)
		if err != nil {
			return nil, fmt.Errorf("encoding client: %w", err)
		}
		return &store.Change{Writes: []store.Write{{Key: clientKey(wanted.ID), Value: value, Expect: rev}}}, nil
	})
}

// AuthenticateClient checks a confidential client's id and secret, which is any of secrets: a
// client that form-encodes it and one that does not send the same text for different ones. The answer
// and its time are the same for an unknown client, a public one and a wrong secret, and do not
// tell which of secrets is the right one.
func (b *Broker) AuthenticateClient(ctx context.Context, id string, secrets ...string) (ClientInfo, error) {
	client, _, err := readClient(ctx, b.cfg.Store, id)
	if err != nil {
		return ClientInfo{}, b.internal(ctx, "authenticating a client", err)
	}
	match := 0
	for _, secret := range secrets {
		presented := sha256.Sum256([]byte(secret))
		match |= subtle.ConstantTimeCompare(presented[:], client.SecretHash)
	}
	if match != 1 || slices.Contains(secrets, "") {
		return ClientInfo{}, &Error{Code: CodeInvalidClient, Message: "Unknown client or wrong secret."}
	}
	return ClientInfo{ID: client.ID, Scopes: client.Scopes}, nil
}
