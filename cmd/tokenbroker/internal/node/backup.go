package node

import (
	"context"
	"fmt"
	"io"
	"time"

	"tokenbroker/broker/store/backup"
)

// backup writes all records as they are at one moment; the private keys stay sealed.
func (n *Node) backup(ctx context.Context, w io.Writer) error {
	b, err := backup.NewWriter(w, backup.Header{
		Store: n.ledger.StoreID(), TakenAt: n.ledger.Now().Unix(), Wall: time.Now().Unix(), Version: n.cfg.Version,
	})
	if err != nil {
		return fmt.Errorf("writing the head of a backup: %w", err)
	}
	if err := n.store.Each(ctx, "", b.Add); err != nil {
		return fmt.Errorf("writing the records: %w", err)
	}
	if err := b.Close(); err != nil {
		return fmt.Errorf("ending the backup: %w", err)
	}
	return nil
}
