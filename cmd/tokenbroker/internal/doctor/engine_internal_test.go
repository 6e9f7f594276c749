package doctor

import (
	"strings"
	"testing"

	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// TestAnUnfinishedRestoreIsReported reads the record that a restore leaves when it is interrupted.
func TestAnUnfinishedRestoreIsReported(t *testing.T) {
	engine := memstore.NewEngine(nil).Open(nil)
	if found := maintenance(t.Context(), "etcd", engine); len(found) > 0 {
		t.Errorf("an ordinary store: %+v", found)
	}
	if _, err := origins.Join(t.Context(), origins.Config{Engine: engine, Name: "a program", KEK: "kek", Maintenance: "restore"}); err != nil {
		t.Fatal(err)
	}
	found := maintenance(t.Context(), "etcd", engine)
	if len(found) != 1 || found[0].Level != Fail || !strings.Contains(found[0].Detail, "'tokenbroker restore' has not finished") {
		t.Errorf("%+v", found)
	}
}

func TestAMovedStoreIsReported(t *testing.T) {
	engine := memstore.NewEngine(nil).Open(nil)
	run, err := origins.Join(t.Context(), origins.Config{Engine: engine, Name: "a program", KEK: "kek", Maintenance: origins.Migration})
	if err == nil {
		err = run.Move(t.Context(), origins.Moved{To: "the other store", ID: "id"})
	}
	if err != nil {
		t.Fatal(err)
	}
	found := maintenance(t.Context(), "etcd", engine)
	if len(found) != 1 || found[0].Level != Fail || !strings.Contains(found[0].Detail, "the other store") {
		t.Errorf("%+v", found)
	}
}
