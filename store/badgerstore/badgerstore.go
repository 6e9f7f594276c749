// Package badgerstore keeps the broker's records in an embedded Badger: one process per
// directory, every commit one transaction and one fsync.
package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	badger "github.com/dgraph-io/badger/v4"

	"tokenbroker/store"
)

var _ store.Store = (*Store)(nil)

// DefaultMinFree is the free disk space below which writes are refused: what Badger
// may still have to write of its memtables and a compaction, and a commit on top.
const DefaultMinFree = 256 << 20

// Config of a [Store]. The zero value of everything but Dir (or InMemory) is useful.
type Config struct {
	// Dir is made (0700) if it does not exist. Only this store may use it.
	Dir string
	// Lock is held by the caller over Dir or a directory above it, and outlives the store.
	// Nil: the store locks Dir itself.
	Lock *DirLock
	// InMemory keeps everything in memory and nothing on disk, for tests.
	InMemory bool
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Now decides, beside Badger's own wall clock, which records have expired.
	Now func() time.Time
	// MinFree (bytes) is the free space below which writes are refused; zero: [DefaultMinFree].
	MinFree uint64
	// FreeSpace returns the bytes free below dir; nil: asks the file system.
	FreeSpace func(dir string) (uint64, error)
	// GCEvery is the pause between runs of the value log's garbage collection; zero: 10 min.
	GCEvery time.Duration
}

func (c *Config) validate() error {
	if c.Dir == "" && !c.InMemory {
		return errors.New("opening the store: no directory given")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MinFree == 0 {
		c.MinFree = DefaultMinFree
	}
	if c.FreeSpace == nil {
		c.FreeSpace = freeSpace
	}
	if c.GCEvery <= 0 {
		c.GCEvery = 10 * time.Minute
	}
	return nil
}

// Store implements [store.Store]. Safe for concurrent use.
type Store struct {
	config Config
	db     *badger.DB
	lock   *DirLock // nil when the caller holds it

	committing sync.Mutex // one transaction at a time
	failed     atomic.Pointer[error]
	inventory  *inventory // after the last commit; nil in memory; guarded by committing
	mark       *markFile  // nil in memory; guarded by committing
	markFailed bool       // the last write of the mark failed; guarded by committing

	scratch string // the directory, where the store is a copy to be removed

	stop context.CancelFunc // of the garbage collection
	done chan struct{}

	closing  sync.Mutex
	closed   bool // guarded by closing
	ops      sync.WaitGroup
	closeErr error
	ended    chan struct{} // closed when Close is through
}

// DamagedError reports that the files of a store are damaged, or lack what was committed. The
// store was not opened: it could not tell what was revoked.
type DamagedError struct {
	Dir string
	// Cause names the file or the records, and what is wrong with them.
	Cause error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the store in %s is damaged: %v", e.Dir, e.Cause)
}

// Unwrap returns the cause.
func (e *DamagedError) Unwrap() error { return e.Cause }

// Open opens or makes the store. It starts one goroutine, which Close stops.
// The error is an [*InUseError] if another process has the directory, and a [*DamagedError]
// if the store is damaged.
func Open(config Config) (*Store, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	s := &Store{config: config, done: make(chan struct{}), ended: make(chan struct{})}
	if !config.InMemory {
		if err := s.takeDir(); err != nil {
			return nil, err
		}
	}
	if config.InMemory {
		var err error
		if s.db, err = openBadger(options(config)); err != nil {
			return nil, err
		}
	} else if err := s.openFiles(); err != nil {
		s.releaseDir()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.collectGarbage(ctx)
	return s, nil
}

// openBadger opens the files. A panic of Badger's about what it finds in them is an error.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = &DamagedError{Dir: o.Dir, Cause: fmt.Errorf("its files cannot be opened: %.200v", cause)}
		}
	}()
	if db, err = badger.Open(o); err != nil {
		return nil, &DamagedError{Dir: o.Dir, Cause: fmt.Errorf("its files cannot be opened: %s", oneLine(err))}
	}
	return db, nil
}

func options(config Config) badger.Options {
	o := badger.DefaultOptions(config.Dir).
		WithInMemory(config.InMemory).
		WithLogger(logger{config.Logger}).
		WithSyncWrites(true).
		WithDetectConflicts(false). // revisions are ours, commits are serialised
		WithMetricsEnabled(false).
		WithMemTableSize(32 << 20). // the transaction limit is 15 % of it
		WithNumMemtables(3).
		WithNumCompactors(2).
		WithBlockCacheSize(64 << 20).
		WithValueLogFileSize(16 << 20) // all values are inline: below Badger's 1 MiB threshold
	if config.InMemory {
		o = o.WithDir("").WithValueDir("").WithMemTableSize(16 << 20)
	}
	return o
}

// collectGarbage frees space in the value log until ctx ends.
func (s *Store) collectGarbage(ctx context.Context) {
	defer close(s.done)
	if s.config.InMemory {
		return
	}
	ticker := time.NewTicker(s.config.GCEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for ctx.Err() == nil {
			if err := s.db.RunValueLogGC(0.5); err != nil {
				if !errors.Is(err, badger.ErrNoRewrite) {
					s.config.Logger.Warn("collecting the store's garbage", "error", err)
				}
				break
			}
		}
	}
}

// Close waits for the operations under way and closes the store. Every call waits and
// returns the first one's result. On a disk that is too full for what Badger writes then, the files stay
// as they are, with all that was committed, until the process ends: the next start reads the log.
func (s *Store) Close() error {
	s.closing.Lock()
	first := !s.closed
	s.closed = true
	s.closing.Unlock()
	if first {
		s.stop()
		<-s.done
		s.ops.Wait()
		if err := s.checkSpaceToClose(); err != nil {
			s.config.Logger.Warn("the store's files are left as they are", "error", err)
		} else if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("closing the store: %w", err)
		}
		if s.mark != nil {
			s.closeErr = errors.Join(s.closeErr, s.mark.close())
		}
		s.closeErr = errors.Join(s.closeErr, s.removeScratch())
		s.releaseDir()
		close(s.ended)
	}
	<-s.ended
	return s.closeErr
}

// logger passes on what Badger has to say when something is wrong.
type logger struct{ *slog.Logger }

func (l logger) Errorf(f string, a ...any) { l.Error("badger", "message", fmt.Sprintf(f, a...)) }

func (l logger) Warningf(f string, a ...any) { l.Warn("badger", "message", fmt.Sprintf(f, a...)) }

func (l logger) Infof(string, ...any) {}

func (l logger) Debugf(string, ...any) {}
