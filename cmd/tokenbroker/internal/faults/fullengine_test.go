package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// fillEngine fills the database of etcd. Nothing is acknowledged until it has space again, and nothing that was is lost.
func (c *cluster) fillEngine(t *testing.T, l *load) {
	for j := range size { // one after the other, so that a majority runs
		c.members[j].kill(t)
		c.configs[j].Quota = 16 << 20
		c.startMember(t, j)
		c.members[j].ready(t, memberReady)
		c.leader(t)
	}
	l.more(t, "with a small quota")
	kept := c.open(t, c.users[0])
	client := c.etcd(t)
	junk, written := bytes.Repeat([]byte("x"), 256<<10), 0
	eventually(t, "etcd is full", func() bool {
		_, err := client.Put(t.Context(), fmt.Sprint("junk/", written), string(junk))
		written++
		return errors.Is(err, rpctypes.ErrNoSpace)
	})
	for i := range size {
		eventually(t, fmt.Sprintf("broker %d knows that etcd is full", i), func() bool { return !c.ready(t, i) && c.metric(t, i, "tokenbroker_etcd_full") == 1 })
		for _, check := range c.overview(t, i).Checks {
			if check.Name == "engine" && check.OK {
				t.Errorf("broker %d: check engine: %s", i, check.Detail)
			}
		}
		for what, send := range map[string]func() answer{
			"a sign-in": func() answer { _, a := c.signIn(i, c.users[0]); return a },
			"a log-off": func() answer { return c.logOff(i, kept) },
			"a refresh": func() answer { return c.refresh(i, kept) },
		} {
			a := given(t, send)
			if a.status != http.StatusServiceUnavailable || a.retry == "" || a.cleared {
				t.Errorf("broker %d answers %s with %d, Retry-After %q, cookie cleared %t while etcd is full", i, what, a.status, a.retry, a.cleared)
			}
		}
	}
	c.freeEngine(t, client)
	c.allReady(t)
	if a := answered(func() answer { return c.refresh(anywhere, kept) }); a.status != http.StatusOK {
		t.Errorf("the session that did not change while etcd was full: %d %v", a.status, a.body)
	}
	l.heard(t, "after etcd was full")
}

// freeEngine does what docs/operate.md says: compact, defragment, and disarm the alarm.
func (c *cluster) freeEngine(t *testing.T, client *clientv3.Client) {
	t.Helper()
	deleted, err := client.Delete(t.Context(), "junk/", clientv3.WithPrefix())
	if err == nil {
		_, err = client.Compact(t.Context(), deleted.Header.Revision, clientv3.WithCompactPhysical())
	}
	for _, url := range c.clients {
		if err == nil {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			_, err = client.Defragment(ctx, url)
			cancel()
		}
	}
	if err == nil {
		_, err = client.AlarmDisarm(t.Context(), &clientv3.AlarmMember{})
	}
	if err != nil {
		t.Fatalf("freeing space in etcd: %v", err)
	}
}
