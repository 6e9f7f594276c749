package ledger

import (
	"log/slog"
	"sync/atomic"
)

// unreadable is how many records the last collection could not read.
type unreadable struct{ count atomic.Int64 }

// note writes an error line whenever their number has changed.
func (u *unreadable) note(logger *slog.Logger, failed []error) {
	now := int64(len(failed))
	was := u.count.Swap(now)
	if now > 0 && now != was {
		logger.Error("records of the ledger cannot be read: they are kept, and services that need them to catch up are refused",
			"records", now, "first", failed[0])
	}
	if now == 0 && was > 0 {
		logger.Info("every record of the ledger can be read again")
	}
}

// Unreadable returns how many records the last collection found that cannot be read. They
// are never collected. While there are any, no full answer is given and the ledger cannot
// be opened again: what they revoke is not known.
func (l *Ledger) Unreadable() int { return int(l.unreadable.count.Load()) }
