package faults_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"tokenbroker/validator"
)

// loseQuorum kills two of three members. What writes is refused and keeps its cookie, services validate by what they know
// for maxStaleness, and everything resumes when the members are back.
func (c *cluster) loseQuorum(t *testing.T, l *load) {
	l.mayBeStale = true
	leader, _ := c.leader(t)
	lost := []int{leader, (leader + 1) % size}
	v := c.open(t, c.users[0])
	for i := range size {
		l.cutOff[i].Store(true)
	}
	for _, j := range lost {
		c.members[j].kill(t)
	}
	for i := range size {
		eventually(t, fmt.Sprintf("broker %d is not ready", i), func() bool { return !c.ready(t, i) })
	}
	for i := range size {
		for what, send := range map[string]func() answer{
			"sign-in": func() answer { _, a := c.signIn(i, c.users[0]); return a },
			"refresh": func() answer { return c.refresh(i, v) },
			"log-off": func() answer { return c.logOff(i, v) },
		} {
			a := given(t, send)
			if a.status != http.StatusServiceUnavailable || a.retry == "" || a.cookie != "" || a.cleared {
				t.Errorf("%s at broker %d without quorum: %d, Retry-After %q, cookie %q, cleared %t", what, i, a.status, a.retry, a.cookie, a.cleared)
			}
		}
	}
	for name, service := range l.services {
		eventually(t, "service "+name+" is stale", func() bool {
			fresh := service.Stats().Fresh
			_, err := service.Validate(t.Context(), v.access)
			if err != nil && !errors.Is(err, validator.ErrStale) || err != nil && fresh && service.Stats().Fresh {
				t.Fatalf("service %s, fresh: %t: %v", name, fresh, err)
			}
			return errors.Is(err, validator.ErrStale)
		})
	}
	for _, j := range lost {
		c.startMember(t, j)
	}
	for _, j := range lost {
		c.members[j].ready(t, memberReady)
	}
	c.allReady(t)
	for i := range size {
		l.cutOff[i].Store(false)
	}
	for name, service := range l.services {
		eventually(t, "service "+name+" accepts the token again", func() bool {
			_, err := service.Validate(t.Context(), v.access)
			return err == nil
		})
	}
	if a := answered(func() answer { return c.refresh(anywhere, v) }); !a.accepted() {
		t.Errorf("refresh of a session that was refused without quorum: %d %v", a.status, a.body)
	}
}
