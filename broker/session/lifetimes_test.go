package session_test

import (
	"testing"
	"time"

	"tokenbroker/broker/session"
)

func TestShortGraceIsRefusedOnASharedStore(t *testing.T) {
	for grace, refused := range map[time.Duration]bool{
		0: false, 1: true, time.Second: true, 5*time.Second - 1: true, 5 * time.Second: false, 10 * time.Second: false,
	} {
		policy := session.DefaultPolicy
		policy.Grace = grace
		if problems := policy.Check(); len(problems) != 0 {
			t.Errorf("a grace of %s: Check = %v", grace, problems)
		}
		problems := policy.CheckShared()
		if refused != (len(problems) == 1) || refused && problems[0].Key != "lifetimes.refresh_grace" {
			t.Errorf("a grace of %s: CheckShared = %v, want it refused: %t", grace, problems, refused)
		}
	}
}
