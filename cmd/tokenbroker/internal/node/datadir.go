package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"tokenbroker/store/badgerstore"
)

// StoreDir is the directory of the records, below a data directory.
func StoreDir(dataDir string) string { return filepath.Join(dataDir, "store") }

// KEKFile is the key encryption key's file, unless one is configured.
func KEKFile(dataDir string) string { return filepath.Join(dataDir, "kek") }

// finishRestore completes a restore that ended after it was decided, and tells of one that
// ended before.
func (n *Node) finishRestore() error {
	dir := StoreDir(n.cfg.DataDir)
	kept, done, err := badgerstore.FinishReplace(dir, time.Now())
	switch {
	case err != nil:
		return err
	case done:
		n.cfg.Logger.Warn("a restore that had been broken off was finished: the restored store is in use", "replaced_store_kept", kept)
	}
	if staged, left := badgerstore.Abandoned(dir); left {
		n.cfg.Logger.Warn("a restore was broken off and changed nothing: run it again, or remove what it left", "left", staged)
	}
	return nil
}

// adviseOnDamage adds to the error of a store that is damaged what an operator can do.
func adviseOnDamage(err error) error {
	var damaged *badgerstore.DamagedError
	if !errors.As(err, &damaged) {
		return err
	}
	return fmt.Errorf("%w: the broker does not start, because it cannot know what was revoked; restore a backup with 'tokenbroker restore FILE'; without one, 'tokenbroker floor raise' signs everybody out and keeps what can be read", err)
}
