package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// DefaultMinFree is the free disk space below which writes are refused. It leaves room for what Badger
// may still have to write of its memtables and a compaction, and for a commit.
const DefaultMinFree = 256 << 20

// Config configures a [Store]. Only Dir or InMemory is required.
type Config struct {
	// Dir is made (0700) if it does not exist. Only this store may use it.
	Dir string
	// Lock is held by the caller over Dir or a directory above it, and outlives the store.
	// If nil, the store locks Dir itself.
	Lock *DirLock
	// InMemory keeps everything in memory and nothing on disk, for tests.
	InMemory bool
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Now decides, in addition to Badger's own wall clock, which records have expired. If nil, time.Now is used.
	Now func() time.Time
	// MinFree (bytes) is the free space below which writes are refused. If zero, [DefaultMinFree] is used.
	MinFree uint64
	// FreeSpace returns the bytes free below dir. If nil, the file system is asked.
	FreeSpace func(dir string) (uint64, error)
	// GCEvery is the pause between runs of the value log's garbage collection. If zero, it is 10 minutes.
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

// DamagedError reports that the files of a store are damaged, or that committed records are missing.
// The store was not opened, because it does not know everything that was revoked.
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

// openBadger opens the files. A panic of Badger's about their content is returned as an error.
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
		WithDetectConflicts(false). // revisions are ours, commits are serialized
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
