package doctor_test

import (
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/cmd/tokenbroker/internal/doctor"
	"tokenbroker/store/etcdstore"
)

// TestMembersOfTheEngineAreJudged checks the findings about the members that the running broker reports.
func TestMembersOfTheEngineAreJudged(t *testing.T) {
	good := admin.EngineMember{Endpoint: "https://etcd-1:2379", OK: true, Version: "3.6.1", SizeBytes: 10, QuotaBytes: 100}
	for name, tt := range map[string]struct {
		change func(*admin.EngineMember)
		level  doctor.Level
		detail string
	}{
		"a good member":            {func(*admin.EngineMember) {}, doctor.OK, "version 3.6.1"},
		"one that does not answer": {func(m *admin.EngineMember) { m.OK, m.Detail = false, "connection refused" }, doctor.Warn, "FAILED: connection refused"},
		"one without space":        {func(m *admin.EngineMember) { m.Alarms = []string{"NOSPACE"} }, doctor.Fail, "ALARM: NOSPACE"},
		"one near its quota":       {func(m *admin.EngineMember) { m.SizeBytes = 71 }, doctor.Warn, "version 3.6.1"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := good
			tt.change(&changed)
			found := look(t, func(_ *world, s *doctor.Subject) {
				s.Status.Store.Members, s.Status.Cluster = []admin.EngineMember{good, good, changed}, &admin.ClusterStatus{}
			})
			if f := found["etcd"]; f.Level != tt.level || !strings.Contains(f.Detail, tt.detail) {
				t.Errorf("%+v, want %s with %q", f, tt.level, tt.detail)
			}
			if _, checked := found["fsync"]; checked {
				t.Error("the disk of the data directory was measured, which does not have the store")
			}
			if f, few := found["etcd members"]; few {
				t.Errorf("three members: %+v", f)
			}
		})
	}
	found := look(t, func(_ *world, s *doctor.Subject) { s.Status.Store.Members = []admin.EngineMember{good} })
	if f := found["etcd members"]; f.Level != doctor.Warn {
		t.Errorf("one member: %+v", f)
	}
}

// TestAnEngineThatDoesNotAnswerIsAFailure checks the connection that doctor makes itself.
func TestAnEngineThatDoesNotAnswerIsAFailure(t *testing.T) {
	found := look(t, func(_ *world, s *doctor.Subject) {
		s.Etcd = &etcdstore.Config{Endpoints: []string{"http://127.0.0.1:1"}, Prefix: "test/"}
	})
	if f := found["etcd"]; f.Level != doctor.Fail || !strings.Contains(f.Detail, "127.0.0.1:1") || !strings.Contains(f.Hint, "test/") {
		t.Errorf("%+v", f)
	}
}
