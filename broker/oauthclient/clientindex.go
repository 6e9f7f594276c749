package oauthclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

const (
	// indexAge is how old the knowledge of the clients may be, and missingAge how old it may be for an origin that is not known.
	indexAge   = 5 * time.Second
	missingAge = time.Second
	// indexTimeout is how long a reading may take. Other questions wait for it.
	indexTimeout = 2 * time.Second
	// maxOrigins is how many origins are known. Further ones are ignored.
	maxOrigins = 10_000
	// clientPage is how many client records are read at a time. There may be 10,000 of clients that registered themselves, and four
	// times as many of removed ones.
	clientPage = 1000
)

// ClientIndex knows the web origins and the names of the clients that the configuration or an operator named. It reads them again when a
// question comes and its knowledge is too old. It is safe for concurrent use.
type ClientIndex struct {
	store  store.Reader
	clock  broker.Clock
	logger *slog.Logger

	reading sync.Mutex // held while the records are read
	known   atomic.Pointer[knownClients]
}

// knownClients is what the index knows as of a time.
type knownClients struct {
	clients map[string][]string // ids by origin
	names   map[string]bool     // names and ids by directory.Lookalike; nil until the records were read once
	at      time.Time
}

// NewClientIndex returns the index of the clients in the store.
func NewClientIndex(r store.Reader, clock broker.Clock, logger *slog.Logger) *ClientIndex {
	return &ClientIndex{store: r, clock: clock, logger: logger}
}

// Allows reports whether origin, as browsers write it, is one of the client's. If clientID is empty, it reports whether it is one
// of any client. If the records cannot be read, the answer rests on the previous reading.
func (x *ClientIndex) Allows(ctx context.Context, origin, clientID string) bool {
	known := x.atMost(ctx, x.known.Load(), indexAge)
	if len(known.clients[origin]) == 0 {
		known = x.atMost(ctx, known, missingAge)
	}
	clients := known.clients[origin]
	return clientID == "" && len(clients) > 0 || slices.Contains(clients, clientID)
}

// Imitates reports whether people may confuse name, which a client claims for itself, with the name or the id of one of the clients, or
// whether it mixes alphabets whose letters look the same. The error, which wraps [store.ErrUnavailable], means that the
// records were never read.
func (x *ClientIndex) Imitates(ctx context.Context, name string) (bool, error) {
	if directory.Confusable(name) {
		return true, nil
	}
	known := x.atMost(ctx, x.known.Load(), indexAge)
	if known.names == nil {
		return false, fmt.Errorf("reading the names of clients: %w", store.ErrUnavailable)
	}
	return known.names[directory.Lookalike(name)], nil
}

// atMost returns knowledge of at most that age, or the old one if the records cannot be read. A call that waited for the reading of
// another uses its result if that is fresh enough for the time of the call: otherwise a store that answers slowly would make all calls
// read one after the other.
func (x *ClientIndex) atMost(ctx context.Context, old *knownClients, age time.Duration) *knownClients {
	asked := x.clock.Now()
	fresh := func(k *knownClients) bool { return k != nil && asked.Sub(k.at) <= age }
	if old == nil {
		old = &knownClients{}
	}
	if fresh(old) {
		return old
	}
	x.reading.Lock()
	defer x.reading.Unlock()
	if known := x.known.Load(); fresh(known) {
		return known
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), indexTimeout) // others wait for this reading
	defer cancel()
	at := x.clock.Now()
	known, err := x.read(ctx)
	if err != nil {
		x.logger.WarnContext(ctx, "the origins and names of clients cannot be read; the previous ones are used", "error", err)
		known, at = &knownClients{clients: old.clients, names: old.names}, x.clock.Now() // until the next attempt, which does not follow at once
	}
	known.at = at
	x.known.Store(known)
	return known
}

func (x *ClientIndex) read(ctx context.Context) (*knownClients, error) {
	known := &knownClients{clients: map[string][]string{}, names: map[string]bool{}}
	prefix, after := directory.ClientKey(""), ""
	for {
		page, err := x.store.List(ctx, prefix, after, clientPage)
		if err != nil {
			return nil, fmt.Errorf("listing clients: %w", err)
		}
		for _, rec := range page {
			after = rec.Key
			id := strings.TrimPrefix(rec.Key, prefix)
			if directory.IsRegisteredID(id) || directory.IsDocumentID(id) { // there may be very many
				continue
			}
			if err := known.add(id, rec.Value); err != nil {
				return nil, err
			}
		}
		if len(page) < clientPage {
			return known, nil
		}
	}
}

// add adds the client of a record, unless it was removed.
func (k *knownClients) add(id string, record []byte) error {
	var client struct {
		Name    string   `json:"name"`
		Origins []string `json:"origins"`
		Removed bool     `json:"removed"`
	}
	if err := json.Unmarshal(record, &client); err != nil {
		return errors.Join(session.ErrRecord, err)
	}
	if client.Removed {
		return nil
	}
	for _, name := range []string{client.Name, id} {
		if looks := directory.Lookalike(name); looks != "" {
			k.names[looks] = true
		}
	}
	for _, origin := range client.Origins {
		if len(k.clients) < maxOrigins || len(k.clients[origin]) > 0 {
			k.clients[origin] = append(k.clients[origin], id)
		}
	}
	return nil
}
