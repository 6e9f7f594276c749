package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenbroker/store"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// TestTheCollectorDeletesExpiredRecords: the broker finds at its start that it collects.
func TestTheCollectorDeletesExpiredRecords(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 1)
	m := b.all[0]
	m.stop()
	h := b.engine.Open(nil)
	put := func(w store.Write) {
		if _, errs := h.CommitFenced(t.Context(), store.Fence{}, []store.Change{{Writes: []store.Write{w}}}, nil); errs[0] != nil {
			t.Error(errs)
		}
	}
	now := time.Now()
	put(store.Write{Key: "once.old", ExpiresAt: now.Add(-2 * time.Hour).Unix()})
	put(store.Write{Key: "once.new", ExpiresAt: now.Add(-time.Minute).Unix()})
	put(store.Write{Key: "once.without"})
	m.fail(func(op memstore.Op) memstore.Fault {
		if origin, ok := strings.CutPrefix(op.Key, origins.Prefix); ok && op.Kind == memstore.OpCommit {
			put(store.Write{Key: "collector", Value: fmt.Appendf(nil, `{"v":1,"origin":%q,"n":1}`, origin), Blind: true})
		}
		return memstore.OK
	})
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the expired record is deleted, and the pass is complete", func() bool {
		metrics := m.admin(http.MethodGet, "/metrics", "").body
		return strings.Contains(metrics, "\ntokenbroker_cluster_swept_records_total 1\n") &&
			!strings.Contains(metrics, "\ntokenbroker_cluster_last_sweep_timestamp_seconds 0\n")
	})
	left, _, err := h.Expired(t.Context(), now.Unix(), "", 1000)
	if err != nil || len(left) != 1 || left[0].Key != "once.new" {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := h.Get(t.Context(), "once.without"); err != nil {
		t.Error(err)
	}
}
