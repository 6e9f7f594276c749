package operator

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// clientPage is how many client records are read at a time.
const clientPage = 100

// SetClients sets the configured clients: it calls [Service.PutClient] for each, and
// other configured clients can no longer authenticate. Their records keep their epochs. Dynamic clients stay, unless a configured
// client has the same id.
func (svc *Service) SetClients(ctx context.Context, clients []broker.Client) error {
	wanted := make(map[string]bool, len(clients))
	for _, c := range clients {
		wanted[c.ID] = true
		if err := svc.PutClient(ctx, c); err != nil {
			return fmt.Errorf("writing client %q: %w", c.ID, err)
		}
	}
	prefix, after := directory.ClientKey(""), ""
	for {
		page, err := svc.cfg.Store.List(ctx, prefix, after, clientPage)
		if err != nil {
			return fmt.Errorf("listing clients: %w", err)
		}
		for _, rec := range page {
			after = rec.Key
			id := strings.TrimPrefix(rec.Key, prefix)
			if wanted[id] || keptWithoutConfiguration(rec.Value) {
				continue
			}
			if err := svc.putClient(ctx, directory.ClientRecord{V: directory.RecordVersion, ID: id, Removed: true}); err != nil {
				return fmt.Errorf("removing client %q: %w", id, err)
			}
		}
		if len(page) < clientPage {
			return nil
		}
	}
}

// keptWithoutConfiguration reports whether a client's record stays as it is if the configuration does not name the client: there may be
// very many such clients. A damaged record does not.
func keptWithoutConfiguration(value []byte) bool {
	var record directory.ClientRecord
	err := directory.DecodeRecord("client", value, &record, &record.V)
	return err == nil && (record.Dynamic || record.Removed)
}

// PutClient creates or changes a configured client and keeps its epoch. It replaces a dynamic client with the same id. It is safe for
// concurrent use. It writes nothing if nothing changes.
func (svc *Service) PutClient(ctx context.Context, c broker.Client) error {
	return svc.putClient(ctx, directory.NewClientRecord(c))
}

// putClient writes wanted with the recorded epoch, unless the record is already equal. It keeps a dynamic client if wanted is removed.
func (svc *Service) putClient(ctx context.Context, wanted directory.ClientRecord) error {
	replaced := false
	err := svc.path.Update(ctx, func() (*store.Change, error) {
		stored, rev, err := directory.ReadClient(ctx, svc.cfg.Store, wanted.ID)
		if err != nil {
			return nil, err
		}
		replaced = stored.Dynamic
		if stored.Dynamic && wanted.Removed {
			return nil, nil
		}
		wanted.Epoch, wanted.CreatedAt = stored.Epoch, stored.CreatedAt
		if !wanted.Removed && (rev == 0 || stored.Removed || stored.Dynamic) {
			wanted.CreatedAt = svc.cfg.Clock.Now().Unix()
		}
		before, err := stored.Write(rev)
		if err != nil {
			return nil, err
		}
		after, err := wanted.Write(rev)
		if err != nil || rev != 0 && bytes.Equal(before.Value, after.Value) {
			return nil, err
		}
		return &store.Change{Writes: []store.Write{after}}, nil
	})
	if err == nil && replaced && !wanted.Removed {
		svc.cfg.Logger.WarnContext(ctx, "a configured client replaced a client that operators had registered under the same id", "client_id", wanted.ID)
	}
	return err
}

// RevokeClient ends the client's sessions and revokes all tokens that were issued to it, including its own
// tokens. New ones can be issued immediately. A client that was removed from the configuration
// can also be revoked, because its sessions may be live, and so can each client whose id is the URL of its metadata document: such a
// client has no record before. Errors: CodeUnknownClient, for another client that never existed, and CodeInvalidRevocation.
func (svc *Service) RevokeClient(ctx context.Context, id, reason string, req broker.Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	epoch, seq, err := svc.path.End(ctx, commit.Termination{
		Kind: revocation.KindClient, Value: id, Reason: why, By: req.Operator,
		Writes: func(ctx context.Context, epoch int64) ([]store.Write, error) {
			client, rev, err := directory.ReadClient(ctx, svc.cfg.Store, id)
			if err != nil {
				return nil, err
			}
			if rev == 0 {
				if client, err = svc.documentRecord(id); err != nil {
					return nil, err
				}
			}
			client.Epoch = epoch
			write, err := client.Write(rev)
			return []store.Write{write}, err
		},
	})
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "revoking a client", err)
	}
	svc.audit.Info(ctx, "client_revoke", req, "client_id", id, "reason", string(why), "epoch", epoch)
	return delivered(ctx, delivery, Revoked{Kind: string(revocation.KindClient), Value: id, Epoch: epoch, Changed: true}, seq), nil
}

// documentRecord returns the first record of a client whose id is the URL of its metadata document.
func (svc *Service) documentRecord(id string) (directory.ClientRecord, error) {
	if !directory.IsDocumentID(id) {
		return directory.ClientRecord{}, &broker.Error{Code: broker.CodeUnknownClient, Message: "No client with this id exists, and none was ever configured; correct the id."}
	}
	if flaw := directory.DocumentIDFlaw(id, true); flaw != "" {
		return directory.ClientRecord{}, &broker.Error{Code: broker.CodeInvalidRevocation, Message: "The value is not the URL of a client metadata document: it " + flaw + "."}
	}
	return directory.ClientRecord{V: directory.RecordVersion, ID: id, Document: true, Dynamic: true, CreatedAt: svc.cfg.Clock.Now().Unix()}, nil
}
