package node

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// TestReadsThatCannotBeConfirmedAre503 checks that no read of an old primary is answered, whether its confirmation fails or is
// late, and that metrics do not hide that an engine needs confirmations.
func TestReadsThatCannotBeConfirmedAre503(t *testing.T) {
	for name, fault := range map[string]memstore.Fault{"failed": memstore.OK, "late": memstore.Keep} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now, confirms := memstore.OK, 0
				primary := memstore.NewEngine(nil).OpenPrimary(func(op memstore.Op) memstore.Fault {
					if op.Kind != memstore.OpConfirm {
						return memstore.OK
					}
					confirms++
					return now
				})
				run, err := origins.Join(t.Context(), origins.Config{
					Engine: metrics.New().Engine(primary), Name: "a", KEK: "k", Logger: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				s := sharedStore{run, newPauses(func() time.Duration { return 0 }, time.Now)}
				reads := map[string]func() error{
					"Get":     func() error { _, err := s.Get(t.Context(), origins.Key(run.Origin())); return err },
					"GetMany": func() error { _, err := s.GetMany(t.Context(), []string{"key"}); return err },
					"List":    func() error { _, err := s.List(t.Context(), "", "", 1); return err },
					"a snapshot": func() error {
						view, release, err := s.Snapshot()
						if err != nil {
							return err
						}
						defer release()
						_, err = view.GetMany(t.Context(), []string{"key"})
						return err
					},
					"a round": func() error {
						r, confirm := store.Provisional(metrics.New().Store(s))
						view, release, err := store.Snapshot(r)
						if err != nil {
							return err
						}
						defer release()
						for range 3 {
							if _, err := view.GetMany(t.Context(), []string{"key"}); err != nil {
								t.Errorf("a provisional read: %v", err)
							}
						}
						return confirm(t.Context())
					},
				}
				for name, read := range reads {
					confirms = 0
					if err := read(); err != nil || confirms != 1 {
						t.Errorf("%s: %v, with %d confirmations", name, err, confirms)
					}
				}
				primary.Replace()
				now = fault
				for name, read := range reads {
					if app, ok := errors.AsType[*broker.Error](read()); !ok || app.Code != broker.CodeUnavailable {
						t.Errorf("%s: %v", name, app)
					}
				}
			})
		})
	}
}
