package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
)

// fakeMembers is an engine with members whose state a test sets.
type fakeMembers struct {
	store.Engine
	full    bool
	members []etcdstore.Member
}

func (f *fakeMembers) Full() bool                                 { return f.full }
func (f *fakeMembers) Members(context.Context) []etcdstore.Member { return f.members }

// TestEngineCheckFollowsTheMembers checks that a broker is not ready while the cluster is full, and degraded while a
// member fails.
func TestEngineCheckFollowsTheMembers(t *testing.T) {
	well := func(endpoint string) etcdstore.Member {
		return etcdstore.Member{Endpoint: endpoint, Version: "3.6.1", HasLeader: true, Size: 10, Quota: 100}
	}
	for name, tt := range map[string]struct {
		change       func(*fakeMembers)
		ok, degraded bool
		detail       string
	}{
		"all is well":                  {func(*fakeMembers) {}, true, false, ""},
		"the last commit was refused":  {func(f *fakeMembers) { f.full = true }, false, false, "no space"},
		"a member reports NOSPACE":     {func(f *fakeMembers) { f.members[1].Alarms = []string{"NOSPACE"} }, false, false, "no space"},
		"a member reports CORRUPT":     {func(f *fakeMembers) { f.members[1].Alarms = []string{"CORRUPT"} }, true, true, "b: has raised the alarm CORRUPT"},
		"a member does not answer":     {func(f *fakeMembers) { f.members[2] = etcdstore.Member{Endpoint: "c", Err: errors.New("refused")} }, true, true, "c: does not answer"},
		"a member has no leader":       {func(f *fakeMembers) { f.members[0].HasLeader = false }, true, true, "a: does not answer, or has no leader"},
		"the members were never asked": {func(f *fakeMembers) { f.members = nil }, true, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			engine := &fakeMembers{members: []etcdstore.Member{well("a"), well("b"), well("c")}}
			tt.change(engine)
			c := &cluster{Node: &Node{cfg: Config{Engine: engine}}}
			members := MembersOf(t.Context(), engine)
			c.members.Store(&members)
			check := c.engineCheck()
			if check.OK != tt.ok || check.Degraded != tt.degraded || tt.detail == "" && check.Detail != "" || !strings.Contains(check.Detail, tt.detail) {
				t.Errorf("%+v, want ok %t, degraded %t, %q", check, tt.ok, tt.degraded, tt.detail)
			}
			if (c.full() == nil) != tt.ok {
				t.Errorf("full: %v", c.full())
			}
		})
	}
}

// TestMembersOfReportsEachEndpoint checks what operators see of members.
func TestMembersOfReportsEachEndpoint(t *testing.T) {
	got := MembersOf(t.Context(), &fakeMembers{members: []etcdstore.Member{
		{Endpoint: "a", Version: "3.6.1", Leader: true, HasLeader: true, Size: 10, InUse: 5, Quota: 100},
		{Endpoint: "b", Err: errors.New("refused")},
	}})
	want := []admin.EngineMember{
		{Endpoint: "a", OK: true, Version: "3.6.1", Leader: true, SizeBytes: 10, InUseBytes: 5, QuotaBytes: 100}, {Endpoint: "b", Detail: "refused"},
	}
	if !slices.EqualFunc(got, want, func(a, b admin.EngineMember) bool {
		return a.Endpoint == b.Endpoint && a.OK == b.OK && a.Detail == b.Detail && a.Version == b.Version && a.Leader == b.Leader && a.SizeBytes == b.SizeBytes && a.InUseBytes == b.InUseBytes && a.QuotaBytes == b.QuotaBytes
	}) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
