package main

import (
	"os"
	"os/exec"
	"testing"

	"tokenbroker/internal/longtest"
	"tokenbroker/store/pgstore/pgtest"
)

// TestAPostgresDatabaseThatWasSetBack restores an earlier copy of the data of all servers, as a point-in-time recovery does.
func TestAPostgresDatabaseThatWasSetBack(t *testing.T) {
	longtest.SkipShort(t, "starts brokers and two PostgreSQL servers, and waits until brokers have certainly ended")
	t.Parallel()
	b := newPostgresBrokers(t, pgtest.Start(t))
	b.initStore(t)
	servers := b.cluster.Servers()
	restart := func(copyData func(dir string)) {
		t.Helper()
		for _, s := range servers {
			s.Kill(t)
		}
		for _, s := range servers {
			copyData(s.Dir())
			s.Restart(t)
		}
	}
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	b.setBack(t, func() {
		restart(func(dir string) { run("cp", "-a", dir, dir+"-earlier") })
	}, func() {
		restart(func(dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			run("cp", "-a", dir+"-earlier", dir)
		})
	})
}
