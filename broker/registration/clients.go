package registration

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

const (
	// countAge is how old the number of clients may be, and fullAge how old it may be if there seem to be too many.
	countAge = time.Minute
	fullAge  = 10 * time.Second
	// maxRemoved is how many records of removed clients there may be for each client. They expire.
	maxRemoved = 4
	// clientPage is how many client records are read at a time.
	clientPage = 1000
	// countTimeout is how long a count may take. Other registrations wait for it.
	countTimeout = 10 * time.Second
	// fullWarning is how often a broker at most warns that there are too many clients.
	fullWarning = time.Minute
)

// population is the number of registered clients, and of records of removed ones.
type population struct {
	live, removed int
	at, warned    time.Time // of the count and of the latest warning
}

func (p population) full(most int) bool { return p.live >= most || p.removed >= maxRemoved*most }

// add writes the record of a new client, unless there are too many. It sets when the client was created and when it expires.
func (svc *Service) add(ctx context.Context, record *directory.ClientRecord) error {
	if err := svc.adding.Acquire(ctx, 1); err != nil {
		return err
	}
	defer svc.adding.Release(1)
	now := svc.cfg.Clock.Now()
	if err := svc.count(ctx, now); err != nil {
		return err
	}
	if svc.clients.full(svc.cfg.MaxClients) {
		if now.Sub(svc.clients.warned) >= fullWarning {
			svc.clients.warned = now
			svc.cfg.Logger.WarnContext(ctx, "there are as many registered clients as oauth.registration.max_clients allows, so no client can register",
				"clients", svc.clients.live, "removed", svc.clients.removed)
		}
		return &broker.Error{Code: broker.CodeUnavailable, Message: "As many clients have registered as this broker allows; try again later, or ask its operator for a client.", RetryAfter: time.Minute}
	}
	record.CreatedAt, record.Registration.ExpiresAt = now.Unix(), now.Add(svc.cfg.UnusedAfter).Unix()
	err := svc.path.Update(ctx, func() (*store.Change, error) {
		write, err := record.Write(0)
		return &store.Change{Writes: []store.Write{write}}, err
	})
	if err == nil {
		svc.clients.live++
	}
	return err
}

// count counts the clients again if their number is too old. Callers hold adding.
func (svc *Service) count(ctx context.Context, now time.Time) error {
	age := now.Sub(svc.clients.at)
	if age < fullAge || age < countAge && !svc.clients.full(svc.cfg.MaxClients) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), countTimeout) // others wait for this count
	defer cancel()
	counted := population{at: now, warned: svc.clients.warned}
	prefix, after := directory.ClientKey(directory.RegisteredPrefix), ""
	for {
		page, err := svc.cfg.Store.List(ctx, prefix, after, clientPage)
		if err != nil {
			return fmt.Errorf("counting the registered clients: %w", err)
		}
		for _, rec := range page {
			after = rec.Key
			var record directory.ClientRecord
			switch err := directory.DecodeRecord("client", rec.Value, &record, &record.V); {
			case err == nil && record.Expired(now):
			case err == nil && record.Removed:
				counted.removed++
			default:
				counted.live++ // also a damaged one
			}
		}
		if len(page) < clientPage {
			svc.clients = counted
			return nil
		}
	}
}

// find returns the record of a client whose registration access token is token. An unknown client and a wrong token get one answer, and
// the comparison takes as long.
func (svc *Service) find(ctx context.Context, id, token string) (directory.ClientRecord, store.Revision, error) {
	var (
		record directory.ClientRecord
		rev    store.Revision
	)
	if directory.IsRegisteredID(id) {
		var err error
		if record, rev, err = directory.ReadClient(ctx, svc.cfg.Store, id); err != nil {
			return directory.ClientRecord{}, 0, err
		}
	}
	hash := make([]byte, sha256.Size) // no token has this hash
	known := record.Registration != nil && !record.Removed && !record.Expired(svc.cfg.Clock.Now())
	if known {
		hash = record.Registration.TokenHash
	}
	if !matches(token, hash) || !known {
		return directory.ClientRecord{}, 0, &broker.Error{Code: broker.CodeInvalidToken, Message: "No client has this id and this registration access token."}
	}
	return record, rev, nil
}

// end removes a client and returns the epoch that ended its sessions and tokens.
func (svc *Service) end(ctx context.Context, id, token string) (epoch int64, err error) {
	epoch, _, err = svc.path.End(ctx, commit.Termination{
		Kind: revocation.KindClient, Value: id, Reason: revocation.ReasonRevoked,
		Writes: func(ctx context.Context, epoch int64) ([]store.Write, error) {
			record, rev, err := svc.find(ctx, id, token)
			if err != nil {
				return nil, err
			}
			write, err := record.Tombstone(epoch, svc.cfg.Clock.Now(), svc.cfg.Limits.Policy.Idle).Write(rev)
			return []store.Write{write}, err
		},
	})
	return epoch, err
}
