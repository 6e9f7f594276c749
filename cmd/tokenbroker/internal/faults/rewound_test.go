package faults_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/validator"
)

// rewindEngine puts an older copy of etcd's data back while the brokers run, which undoes an acknowledged log-off. The
// brokers end and say why. Those that are started then do not know what was lost, but the services do.
func (c *cluster) rewindEngine(t *testing.T, services map[string]watched) {
	kept, ended := c.open(t, c.users[0]), c.open(t, c.users[0])
	c.copyMembers(t, "", ".copy")
	c.allReady(t)
	if a := answered(func() answer { return c.logOff(anywhere, ended) }); !a.accepted() {
		t.Fatalf("log-off: %d %v", a.status, a.body)
	}
	for i := range size { // each broker reads the store after the log-off, which it does every second anyway
		eventually(t, fmt.Sprintf("broker %d refuses the token of the ended session", i), func() bool {
			active, known, _ := c.check(i, ended.access)
			return known && !active
		})
	}
	for name, service := range services {
		eventually(t, "service "+name+" refuses the token of the ended session", func() bool {
			_, err := service.Validate(t.Context(), ended.access)
			return errors.Is(err, validator.ErrRevoked)
		})
	}

	c.copyMembers(t, ".copy", "")
	for i, p := range c.brokers {
		eventually(t, fmt.Sprintf("broker %d ends", i), p.ended)
		if code := p.cmd.ProcessState.ExitCode(); code == 0 || p.out.count("the engine was rewound to an earlier state") == 0 {
			t.Errorf("broker %d ends with exit code %d:\n%s", i, code, p.out.tail())
		}
	}
	c.startBrokers(t)
	for name, service := range services {
		eventually(t, "service "+name+" knows that the store was rewound", func() bool { return strings.Contains(service.Stats().Feed.Reason, "rewound") })
		for _, v := range []visit{kept, ended} {
			if _, err := service.Validate(t.Context(), v.access); !errors.Is(err, validator.ErrStale) && !errors.Is(err, validator.ErrRevoked) {
				t.Errorf("service %s: a token after the store was rewound: %v", name, err)
			}
		}
		if service.stales() == 0 {
			t.Errorf("service %s is not stale:\n%s", name, service.log.tail())
		}
	}
	c.raiseFloor(t, services, kept, ended)
}

// raiseFloor does what the brokers said. All users are signed out, and the services are current again.
func (c *cluster) raiseFloor(t *testing.T, services map[string]watched, before ...visit) {
	t.Helper()
	for _, p := range c.brokers {
		p.terminate(t)
	}
	program, err := brokerProgram()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, program, "floor", "raise", "--config", c.configFile(0), "--yes").CombinedOutput(); err != nil {
		t.Fatalf("floor raise: %v\n%s", err, out)
	}
	c.startBrokers(t)
	after := c.open(t, c.users[0])
	for i, v := range before {
		if a := answered(func() answer { return c.refresh(i%size, v) }); a.status != http.StatusUnauthorized {
			t.Errorf("a session from before the floor was raised: %d %v", a.status, a.body)
		}
	}
	for name, service := range services {
		eventually(t, "service "+name+" accepts the token of a new session", func() bool {
			_, err := service.Validate(t.Context(), after.access)
			return err == nil
		})
		for _, v := range before {
			if _, err := service.Validate(t.Context(), v.access); err == nil {
				t.Errorf("service %s accepts a token from before the floor was raised", name)
			}
		}
	}
}

// startBrokers starts all brokers and waits until they are ready.
func (c *cluster) startBrokers(t *testing.T) {
	t.Helper()
	for i := range size {
		c.startBroker(t, i)
	}
	for _, p := range c.brokers {
		p.ready(t, brokerReady)
	}
	c.allReady(t)
}

// copyMembers stops all etcd members, replaces the data directories named with the suffix to by those with the suffix from, and
// starts the members again.
func (c *cluster) copyMembers(t *testing.T, from, to string) {
	t.Helper()
	for _, p := range c.members {
		p.kill(t)
	}
	for _, config := range c.configs {
		if err := os.RemoveAll(config.Dir + to); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(config.Dir+to, os.DirFS(filepath.Clean(config.Dir+from))); err != nil {
			t.Fatal(err)
		}
	}
	for j := range size {
		c.startMember(t, j)
	}
	for _, p := range c.members {
		p.ready(t, memberReady)
	}
}
