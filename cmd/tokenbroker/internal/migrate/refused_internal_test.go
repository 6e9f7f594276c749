package migrate

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/keyring"
	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// put writes a record without a fence.
func put(t *testing.T, p *place, w store.Write) {
	t.Helper()
	w.Blind = true
	_, errs := p.engine.Open(nil).CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil)
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
}

// raw returns all records.
func raw(t *testing.T, p *place) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := p.engine.Open(nil).Each(t.Context(), "", func(w store.Write) error {
		all[w.Key] = string(w.Value)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRefusedMigrations(t *testing.T) {
	other := keyring.KEK(bytes.Repeat([]byte{8}, 32))
	for _, c := range []struct {
		name   string
		change func(t *testing.T, w *world, cfg *Config)
		want   error
		text   string
	}{
		{"a source without a store", func(_ *testing.T, w *world, cfg *Config) {
			cfg.From.Engine = memstore.NewEngine(nil).Open(nil)
		}, ErrNoStore, "the source"},
		{"different keys", func(_ *testing.T, _ *world, cfg *Config) { cfg.To.KEK = other }, ErrOtherKEK, "keyring.kek"},
		{"both with another key", func(_ *testing.T, _ *world, cfg *Config) { cfg.From.KEK, cfg.To.KEK = other, other }, ErrOtherKEK, "both"},
		{"a clock that is behind", func(t *testing.T, w *world, cfg *Config) {
			put(t, w.from, store.Write{Key: "ledger.time_floor", Value: []byte(`{"v":1,"time_floor":1800000000}`)})
			cfg.Now = func() time.Time { return time.Unix(1_799_999_999, 0) }
		}, ErrClock, "2027-01-15T08:00:00Z"},
		{"a target with records", func(t *testing.T, w *world, _ *Config) {
			put(t, w.to, store.Write{Key: "user.u1", Value: []byte("{}")})
		}, ErrNotEmpty, "user.u1"},
		{"a target with another store", func(t *testing.T, w *world, _ *Config) {
			put(t, w.to, store.Write{Key: "ledger.store", Value: []byte(`{"v":1,"id":"another"}`)})
		}, ErrNotEmpty, "ledger.store"},
		{"a target that was moved and is another store", func(t *testing.T, w *world, _ *Config) {
			put(t, w.to, store.Write{Key: "ledger.store", Value: []byte(`{"v":1,"id":"another"}`)})
			put(t, w.to, store.Write{Key: "moved", Value: []byte(`{"v":1,"to":"x","id":"y"}`)})
		}, ErrNotEmpty, "ledger.store"},
		{"a target of an interrupted migration of another store", func(t *testing.T, w *world, _ *Config) {
			put(t, w.to, store.Write{Key: "maintenance", Value: []byte(`{"v":1,"what":"migrate","replaces":true,"of":"another/x"}`)})
			put(t, w.to, store.Write{Key: "user.u1", Value: []byte("{}")})
		}, ErrNotEmpty, "user.u1"},
		{"a target of an interrupted restore", func(t *testing.T, w *world, _ *Config) {
			put(t, w.to, store.Write{Key: "maintenance", Value: []byte(`{"v":1,"what":"restore","replaces":true}`)})
		}, origins.ErrMaintenance, "restore"},
		{"a source of an interrupted restore", func(t *testing.T, w *world, _ *Config) {
			put(t, w.from, store.Write{Key: "maintenance", Value: []byte(`{"v":1,"what":"restore","replaces":true}`)})
		}, origins.ErrMaintenance, "restore"},
		{"a source that is itself incomplete", func(t *testing.T, w *world, _ *Config) {
			put(t, w.from, store.Write{Key: "maintenance", Value: []byte(`{"v":1,"what":"migrate","replaces":true,"of":"x"}`)})
		}, origins.ErrMaintenance, "run that one again"},
		{"a source that was moved elsewhere", func(t *testing.T, w *world, _ *Config) {
			put(t, w.from, store.Write{Key: "moved", Value: []byte(`{"v":1,"to":"the prefix third/","id":"y"}`)})
		}, origins.ErrMoved, "the prefix third/"},
		{"the same store", func(_ *testing.T, w *world, cfg *Config) { cfg.To.Engine = w.from.engine.Open(nil) }, ErrSame, ""},
		{"a copy of the source", func(t *testing.T, w *world, _ *Config) {
			for key, value := range raw(t, w.from) {
				put(t, w.to, store.Write{Key: key, Value: []byte(value)})
			}
		}, ErrSame, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, false, false)
			cfg := w.config()
			c.change(t, w, &cfg)
			from, to := raw(t, w.from), raw(t, w.to)
			_, err := Prepare(t.Context(), cfg)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v, want %v with %q", err, c.want, c.text)
			}
			if !maps.Equal(raw(t, w.from), from) || !maps.Equal(raw(t, w.to), to) {
				t.Error("a store was changed")
			}
		})
	}
}

// TestNoneRunsBesideAMigration starts brokers and another migration in each step of a migration.
func TestNoneRunsBesideAMigration(t *testing.T) {
	w := newWorld(t, false, false)
	want := w.contents(w.from)
	check := func(step string) {
		if _, _, _, err := w.start(w.from); step != "join source" && !errors.Is(err, origins.ErrMaintenance) && !errors.Is(err, origins.ErrMoved) {
			t.Errorf("a broker at the source at %q: %v", step, err)
		}
		if _, _, _, err := w.start(w.to); step != "join source" && step != "join target" && !errors.Is(err, origins.ErrMaintenance) {
			t.Errorf("a broker at the target at %q: %v", step, err)
		}
	}
	w.steps = func(step string) {
		if step == "join source" || step == "join target" { // a broker would change what is prepared
			return
		}
		check(step)
	}
	w.mustMove(want)
}

// TestOfTwoMigrationsAtOnceOneIsRefused starts another migration in each step of one, which goes on in the meantime.
func TestOfTwoMigrationsAtOnceOneIsRefused(t *testing.T) {
	for _, step := range []string{"join source", "join target", "claim", "clear", "copy", "compare", "mark"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, false, false)
			want := w.contents(w.from)
			entered := false
			var first, second error
			migrate := func() error {
				cfg := w.config()
				cfg.sleep, cfg.mono = nil, nil
				p, err := Prepare(t.Context(), cfg)
				if err == nil {
					_, err = p.Run(t.Context())
				}
				return err
			}
			w.steps = func(s string) {
				if s == step && !entered {
					entered = true
					second = migrate()
				}
			}
			first = migrate()
			if (first == nil) == (second == nil) {
				t.Errorf("the second at %q: the first %v, the second %v", step, first, second)
			}
			if w.startable(w.from) && w.startable(w.to) {
				t.Errorf("the second at %q: brokers start with both stores", step)
			}
			w.steps = nil
			w.mustMove(want)
		})
	}
}

// TestADifferenceIsFound changes the target between the copy and the comparison.
func TestADifferenceIsFound(t *testing.T) {
	for name, change := range map[string]store.Write{
		"a changed value":     {Key: "user.u0001", Value: []byte("{}")},
		"a lost end":          {Key: "session.u1.s0001", Value: []byte(`{"n":1}`)},
		"an earlier end":      {Key: "session.u1.s0001", Value: []byte(`{"n":1}`), ExpiresAt: time.Now().Unix() + 1800},
		"an earlier long end": {Key: "session.u1.long", Value: []byte(`{}`), ExpiresAt: time.Now().Unix() + 1800},
		"a lost long record":  {Key: "session.u1.long", Delete: true},
		"a lost record":       {Key: "once.o0001", Delete: true},
		"one record more":     {Key: "user.u9999", Value: []byte("{}")},
	} {
		w := newWorld(t, true, false)
		put(t, w.from, store.Write{Key: "session.u1.long", Value: []byte(`{}`), ExpiresAt: time.Now().Unix() + 36000})
		want := w.contents(w.from)
		w.steps = func(step string) {
			if step == "compare" {
				put(t, w.to, change)
			}
		}
		if _, err := w.migrate(); !errors.Is(err, ErrDifferent) || !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v, want ErrDifferent", name, err)
		}
		if !w.startable(w.from) || w.startable(w.to) {
			t.Errorf("%s: startable: source %t, target %t", name, w.startable(w.from), w.startable(w.to))
		}
		w.steps = nil
		w.mustMove(want)
	}
}

// TestRecordsThatExpireDuringAMigration are not missed by the comparison.
func TestRecordsThatExpireDuringAMigration(t *testing.T) {
	w := newWorld(t, true, false)
	put(t, w.from, store.Write{Key: "once.soon", Value: []byte("{}"), ExpiresAt: time.Now().Unix() + 60})
	w.steps = func(step string) {
		if step == "compare" {
			put(t, w.to, store.Write{Key: "once.soon", Delete: true})
		}
	}
	cfg := w.config()
	cfg.Now = func() time.Time { return time.Now().Add(2 * time.Minute) }
	p, err := Prepare(t.Context(), cfg)
	if err == nil {
		_, err = p.Run(t.Context())
	}
	if err != nil {
		t.Error(err)
	}
}

func TestADamagedRecordStopsAMigration(t *testing.T) {
	for _, key := range []string{"ledger.batch.o1.0000000000000001", "ledger.event.sid.s1", "origin.o1"} {
		w := newWorld(t, true, false)
		before := raw(t, w.from)[key]
		put(t, w.from, store.Write{Key: key, Value: []byte("{")})
		_, err := w.migrate()
		if err == nil || !strings.Contains(err.Error(), key) || w.startable(w.to) {
			t.Errorf("%s: %v", key, err)
		}
		put(t, w.from, store.Write{Key: key, Value: []byte(before), Delete: before == ""})
		if !w.startable(w.from) {
			t.Errorf("%s: no broker starts with the source", key)
		}
		w.mustMove(w.contents(w.from))
	}
}

func TestAnEngineThatRefusesWrites(t *testing.T) {
	w := newWorld(t, true, false)
	want := w.contents(w.from)
	w.steps = func(step string) {
		if step == "copy" {
			w.to.engine.Limit(10)
		}
	}
	if _, err := w.migrate(); !errors.Is(err, ErrIncomplete) || !w.startable(w.from) {
		t.Errorf("%v, startable %t", err, w.startable(w.from))
	}
	w.steps = nil
	w.to.engine.Limit(0)
	w.mustMove(want)
}
