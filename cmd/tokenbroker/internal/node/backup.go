package node

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/backup"
)

// backup writes all records as they are at one moment, encrypted under the KEK of that moment;
// the private keys in them stay sealed.
func (n *Node) backup(ctx context.Context, w io.Writer) error {
	// No reseal between the choice of the KEK and the moment that the records are of: one KEK
	// opens all of a backup.
	n.kek.mu.Lock()
	unlock := sync.OnceFunc(n.kek.mu.Unlock)
	defer unlock()
	b, err := backup.NewWriter(ctx, w, backup.Header{
		Store: n.ledger.StoreID(), TakenAt: n.ledger.Now().Unix(), Wall: time.Now().Unix(), Version: n.cfg.Version,
	}, n.kek.backups)
	if err != nil {
		return fmt.Errorf("writing the head of a backup: %w", err)
	}
	err = n.store.Each(ctx, "", func(r store.Write) error {
		unlock() // the records are those of the moment at which Each began
		return b.Add(r)
	})
	if err != nil {
		return fmt.Errorf("writing the records: %w", err)
	}
	if err := b.Close(); err != nil {
		return fmt.Errorf("ending the backup: %w", err)
	}
	return nil
}
