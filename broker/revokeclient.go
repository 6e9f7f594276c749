package broker

import (
	"context"
	"encoding/json"
	"fmt"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// RevokeClient ends the client's sessions and all tokens that were issued to it, its own
// among them; new ones can be had at once. A client that was taken out of the configuration
// can be revoked, too: its sessions may be alive. Errors: CodeUnknownClient, for one that
// never was in it; CodeInvalidRevocation.
func (b *Broker) RevokeClient(ctx context.Context, id, reason string, req Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	epoch, seq, err := b.end(ctx, ending{
		kind: revocation.KindClient, value: id, reason: why, by: req.Operator,
		writes: func(ctx context.Context, epoch int64) ([]store.Write, error) {
			client, rev, err := readClient(ctx, b.cfg.Store, id)
			if err != nil {
				return nil, err
			}
			if rev == 0 {
				return nil, &Error{Code: CodeUnknownClient, Message: "There is no such client."}
			}
			client.Epoch = epoch
			value, err := json.Marshal(client)
			if err != nil {
				return nil, fmt.Errorf("encoding the client: %w", err)
			}
			return []store.Write{{Key: clientKey(id), Value: value, Expect: rev}}, nil
		},
	})
	if err != nil {
		return Revoked{}, b.internal(ctx, "revoking a client", err)
	}
	b.audit(ctx, "client_revoke", req, "client_id", id, "reason", string(why), "epoch", epoch)
	return tell.revoked(ctx, Revoked{Kind: string(revocation.KindClient), Value: id, Epoch: epoch, Changed: true}, seq), nil
}
