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
	// originsAge is how old the knowledge of the clients' origins may be, and missingAge how old it may be for an origin that is
	// not known.
	originsAge = 5 * time.Second
	missingAge = time.Second
	// originsTimeout is how long a reading may take. Other questions wait for it.
	originsTimeout = 2 * time.Second
	// maxOrigins is how many origins are known. Further ones are ignored.
	maxOrigins = 10_000
	// clientPage is how many client records are read at a time.
	clientPage = 100
)

// Origins knows the web origins of all clients. It reads them again when a question comes and its knowledge is too old. It is
// safe for concurrent use.
type Origins struct {
	store  store.Reader
	clock  broker.Clock
	logger *slog.Logger

	reading sync.Mutex // held while the records are read
	known   atomic.Pointer[knownOrigins]
}

// knownOrigins are the ids of the clients by origin, as of a time.
type knownOrigins struct {
	clients map[string][]string
	at      time.Time
}

// NewOrigins returns the origins of the clients in the store.
func NewOrigins(r store.Reader, clock broker.Clock, logger *slog.Logger) *Origins {
	return &Origins{store: r, clock: clock, logger: logger}
}

// Allows reports whether origin, as browsers write it, is one of the client's. If clientID is empty, it reports whether it is one
// of any client. If the records cannot be read, the answer rests on the previous reading.
func (o *Origins) Allows(ctx context.Context, origin, clientID string) bool {
	known := o.atMost(ctx, o.known.Load(), originsAge)
	if len(known.clients[origin]) == 0 {
		known = o.atMost(ctx, known, missingAge)
	}
	clients := known.clients[origin]
	return clientID == "" && len(clients) > 0 || slices.Contains(clients, clientID)
}

// atMost returns knowledge of at most that age, or the old one if the records cannot be read. A call that waited for the reading of
// another uses its result if that is fresh enough for the time of the call: otherwise a store that answers slowly would make all calls
// read one after the other.
func (o *Origins) atMost(ctx context.Context, old *knownOrigins, age time.Duration) *knownOrigins {
	asked := o.clock.Now()
	fresh := func(k *knownOrigins) bool { return k != nil && asked.Sub(k.at) <= age }
	if old == nil {
		old = &knownOrigins{}
	}
	if fresh(old) {
		return old
	}
	o.reading.Lock()
	defer o.reading.Unlock()
	if known := o.known.Load(); fresh(known) {
		return known
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), originsTimeout) // others wait for this reading
	defer cancel()
	known := &knownOrigins{at: o.clock.Now()}
	var err error
	if known.clients, err = o.read(ctx); err != nil {
		o.logger.WarnContext(ctx, "the origins of clients cannot be read; the previous ones are used", "error", err)
		known.clients, known.at = old.clients, o.clock.Now() // until the next attempt, which does not follow at once
	}
	o.known.Store(known)
	return known
}

func (o *Origins) read(ctx context.Context) (map[string][]string, error) {
	clients := map[string][]string{}
	prefix, after := directory.ClientKey(""), ""
	for {
		page, err := o.store.List(ctx, prefix, after, clientPage)
		if err != nil {
			return nil, fmt.Errorf("listing clients: %w", err)
		}
		for _, rec := range page {
			after = rec.Key
			var client struct {
				Origins []string `json:"origins"`
				Removed bool     `json:"removed"`
			}
			if err := json.Unmarshal(rec.Value, &client); err != nil {
				return nil, errors.Join(session.ErrRecord, err)
			}
			for _, origin := range client.Origins {
				if !client.Removed && (len(clients) < maxOrigins || len(clients[origin]) > 0) {
					clients[origin] = append(clients[origin], strings.TrimPrefix(rec.Key, prefix))
				}
			}
		}
		if len(page) < clientPage {
			return clients, nil
		}
	}
}
