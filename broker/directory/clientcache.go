package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"

	"tokenbroker/store"
)

// cachedClients bounds the clients whose decoded records are kept.
const cachedClients = 1024

// ClientCache keeps decoded records of clients, because each request of a client needs its record and decoding it takes longer than
// reading it. Each record is still read from the store. It is safe for concurrent use.
type ClientCache struct {
	decoded *lru.Cache[string, decodedClient] // by key
}

type decodedClient struct {
	value  []byte
	client ClientRecord
}

// NewClientCache returns an empty cache.
func NewClientCache() *ClientCache {
	decoded, err := lru.New[string, decodedClient](cachedClients)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &ClientCache{decoded: decoded}
}

// Read is [ReadClient] without the revision. Callers must not change the slices of the record.
func (c *ClientCache) Read(ctx context.Context, r store.Reader, id string) (ClientRecord, error) {
	key := ClientKey(id)
	rec, err := r.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return ClientRecord{}, nil
	}
	if err != nil {
		return ClientRecord{}, fmt.Errorf("reading client: %w", err)
	}
	if known, ok := c.decoded.Get(key); ok && bytes.Equal(known.value, rec.Value) {
		return known.client, nil
	}
	var client ClientRecord
	if err := DecodeRecord("client", rec.Value, &client, &client.V); err != nil {
		return ClientRecord{}, err
	}
	c.decoded.Add(key, decodedClient{value: bytes.Clone(rec.Value), client: client})
	return client, nil
}
