package node

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/store"
	"tokenbroker/store/pgstore"
)

// fakePostgres is an engine on PostgreSQL whose state a test sets.
type fakePostgres struct {
	store.Engine
	full   bool
	mu     sync.Mutex
	health pgstore.Health // guarded by mu
	err    error          // guarded by mu
}

func (f *fakePostgres) Full() bool { return f.full }

func (f *fakePostgres) Health(context.Context) (pgstore.Health, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.health, f.err
}

// TestEngineCheckFollowsThePrimary checks that a broker is not ready while the disk of the primary is full, and degraded while
// the primary does not answer or has no synchronous standby.
func TestEngineCheckFollowsThePrimary(t *testing.T) {
	for name, tt := range map[string]struct {
		change       func(*fakePostgres)
		ok, degraded bool
		detail       string
	}{
		"all is well":                  {func(*fakePostgres) {}, true, false, ""},
		"the disk is full":             {func(f *fakePostgres) { f.full = true }, false, false, "disk"},
		"the primary does not answer":  {func(f *fakePostgres) { f.err = errors.New("refused") }, true, true, "does not answer"},
		"no standby is connected":      {func(f *fakePostgres) { f.health.Standbys = nil }, true, true, "no synchronous standby"},
		"only a potential one is":      {func(f *fakePostgres) { f.health.Standbys[0].Sync = "potential" }, true, true, "no synchronous standby"},
		"the standbys are not visible": {func(f *fakePostgres) { f.health.Standbys, f.health.Visible = nil, false }, true, false, ""},
		"no standby is needed":         {func(f *fakePostgres) { f.health.Standbys, f.health.Durability = nil, "local" }, true, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine := &fakePostgres{health: pgstore.Health{
					Host: "db-1:5432", Durability: "synchronous", Visible: true, Max: 16, Standbys: []pgstore.Standby{{Name: "s", Sync: "sync", LagBytes: 5, Lag: time.Second}},
				}}
				tt.change(engine)
				c := &cluster{Node: &Node{cfg: Config{Engine: engine}}}
				if check := c.engineCheck(); engine.full == check.OK || check.Degraded || c.postgresStatus() != nil {
					t.Errorf("before the primary was asked: %+v, %+v", check, c.postgresStatus())
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { _ = c.watchPostgres(ctx, engine) }()
				synctest.Wait()
				check, status := c.engineCheck(), c.postgresStatus()
				if check.OK != tt.ok || check.Degraded != tt.degraded || tt.detail == "" && check.Detail != "" || !strings.Contains(check.Detail, tt.detail) {
					t.Errorf("%+v, want ok %t, degraded %t, %q", check, tt.ok, tt.degraded, tt.detail)
				}
				if (engine.err == nil) != status.OK || engine.err != nil && status.Detail != "refused" || status.Standbys == nil {
					t.Errorf("status %+v", status)
				}
				if len(engine.health.Standbys) > 0 && status.OK && status.Standbys[0] != (admin.StandbyStatus{Name: "s", Sync: engine.health.Standbys[0].Sync, LagBytes: 5, LagSeconds: 1}) {
					t.Errorf("standbys %+v", status.Standbys)
				}
				engine.mu.Lock()
				engine.err, engine.full, engine.health.Durability = nil, false, "local"
				engine.mu.Unlock()
				time.Sleep(membersEvery)
				synctest.Wait()
				if check := c.engineCheck(); !check.OK || check.Degraded {
					t.Errorf("after the failure: %+v", check)
				}
			})
		})
	}
}
