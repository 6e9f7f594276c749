package node_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"tokenbroker/api/admin"
	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/internal/longtest"
	"tokenbroker/store/memstore"
	"tokenbroker/store/origins"
)

// TestBrokersFollowEachOthersKeys revokes a signing key at one broker. The others publish and sign with the same keys soon
// after, and refuse its tokens.
func TestBrokersFollowEachOthersKeys(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 3)
	jwks := func(m *member) string {
		return b.patient(func() reply { return b.do(m, http.MethodGet, "/.well-known/jwks.json", "", "") }).body
	}
	before := jwks(b.all[0])
	for _, m := range b.all[1:] {
		if jwks(m) != before {
			t.Errorf("broker %s publishes other keys", m.name)
		}
	}
	s := b.signInAt(b.all[1])
	old := s.access
	list, err := node.OperatorKeys(b.all[0].node).ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list.Keys {
		if k.Purpose == "access" && k.State == "active" {
			if _, err := b.all[0].node.Operators().RevokeKey(t.Context(), k.KID, "", broker.Request{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	after := jwks(b.all[0])
	if after == before {
		t.Fatal("the revoked key is published")
	}
	for _, m := range b.all {
		eventually(t, "broker "+m.name+" publishes the new keys", func() bool { return jwks(m) == after })
		if status, _ := b.verifyAt(m, old); status != http.StatusUnauthorized {
			t.Errorf("broker %s accepts a token of the revoked key: %d", m.name, status)
		}
		if a := s.refreshAt(m); a.status != http.StatusOK {
			t.Errorf("refresh at broker %s: %d %s", m.name, a.status, a.body)
		}
		for _, other := range b.all {
			if status, code := b.verifyAt(other, s.access); status != http.StatusOK {
				t.Errorf("broker %s refuses a new token of broker %s: %d %s", other.name, m.name, status, code)
			}
		}
	}
}

// TestAnotherKEKIsRefused starts a second broker with another KEK.
func TestAnotherKEKIsRefused(t *testing.T) {
	longtest.SkipShort(t, "waits for a heartbeat")
	t.Parallel()
	b := newBrokers(t, 1)
	other := b.add("b")
	err := other.start(func(c *node.Config) { c.KEK = append(c.KEK[:31:31], 7) })
	if !errors.Is(err, origins.ErrOtherKEK) {
		t.Fatalf("starting with another KEK: %v", err)
	}
	b.all[0].becomes(http.StatusOK)
}

// TestASecondBrokerIsRefusedWhileAServiceCannotFollowIt sends the receipt of a service that does not understand several
// brokers. A second broker is refused unless it is forced, and the service is named in the status.
func TestASecondBrokerIsRefusedWhileAServiceCannotFollowIt(t *testing.T) {
	longtest.SkipShort(t, "waits for heartbeats")
	t.Parallel()
	b := newBrokers(t, 1)
	first := b.all[0]
	receipt := func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+first.addr+"/revocations/receipt",
			strings.NewReader(`{"v":1,"service":"`+service+`/old","applied":{},"fresh":true,"age_ms":1}`))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(service, secret)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatalf("receipt: %d", resp.StatusCode)
		}
	}
	eventually(t, "the broker records the service", func() bool {
		receipt()
		records, err := b.engine.Open(nil).List(t.Context(), origins.Prefix, "", 10)
		return err == nil && len(records) == 1 && strings.Contains(string(records[0].Value), `"outdated"`)
	})
	if s := first.status().Cluster; s == nil || len(s.OutdatedServices) != 1 || !strings.HasPrefix(s.OutdatedServices[0], service) {
		t.Errorf("the status is %+v", s)
	}
	second := b.add("b")
	if err := second.start(); !errors.Is(err, origins.ErrOutdated) {
		t.Fatalf("starting a second broker: %v", err)
	}
	if err := second.start(func(c *node.Config) { c.Force = true }); err != nil {
		t.Fatalf("starting it by force: %v", err)
	}
	second.becomes(http.StatusOK)
	first.becomes(http.StatusOK)
}

// admin sends an operator's request.
func (m *member) admin(method, path, body string) reply {
	m.lab.t.Helper()
	token, err := os.ReadFile(filepath.Join(m.dir, node.AdminTokenFile))
	if err != nil {
		m.lab.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(m.lab.t.Context(), method, m.node.AdminURL()+path, strings.NewReader(body))
	if err != nil {
		m.lab.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	a, err := send(req)
	if err != nil {
		m.lab.t.Fatal(err)
	}
	return a
}

// look answers an operator's GET, patiently.
func (m *member) look(path string) reply {
	m.lab.t.Helper()
	return m.lab.patient(func() reply { return m.admin(http.MethodGet, path, "") })
}

// status asks a broker for its status.
func (m *member) status() (s admin.Status) {
	m.lab.t.Helper()
	if err := json.Unmarshal([]byte(m.look("/admin/v1/status").body), &s); err != nil {
		m.lab.t.Fatal(err)
	}
	return s
}

// TestStatusListsTheBrokers checks the state that operators see of brokers on one store.
func TestStatusListsTheBrokers(t *testing.T) {
	t.Parallel()
	b := newBrokers(t, 2)
	b.all[1].offset.Store(int64(time.Second))
	var got *admin.ClusterStatus
	eventually(t, "the clocks are compared", func() bool {
		got = b.all[0].status().Cluster
		return got != nil && len(got.Brokers) == 2 && got.Brokers[1].ClockOffsetMS != nil && *got.Brokers[1].ClockOffsetMS > 500
	})
	for i, name := range []string{"a", "b"} {
		m := b.all[i]
		if g := got.Brokers[i]; g.Name != name || g.Address != m.addr || !g.Live || g.Origin != m.status().Ledger.Origin || g.EngineMS <= 0 {
			t.Errorf("broker %s is listed as %+v", name, g)
		}
	}
	if got.Name != "a" || len(got.OutdatedServices) != 0 {
		t.Errorf("the status is %+v", got)
	}
	b.services(0)
	var services []admin.ServiceStatus
	eventually(t, "the services report which broker they hear", func() bool {
		services = b.all[0].status().Services
		return slices.ContainsFunc(services, func(s admin.ServiceStatus) bool { return s.SpeakerName != "" && strings.HasPrefix(s.Source, "nats/") })
	})
	for _, s := range services {
		if i := slices.IndexFunc(got.Brokers, func(b admin.BrokerStatus) bool { return b.Origin == s.Speaker }); i < 0 || got.Brokers[i].Name != s.SpeakerName {
			t.Errorf("service %+v hears none of %+v", s, got.Brokers)
		}
	}
	reseal := func() reply { return b.all[0].admin(http.MethodPost, "/admin/v1/keys/reseal", "{}") }
	if a := b.patient(reseal); a.status != http.StatusBadRequest || !strings.Contains(a.body, "invalid_kek") {
		t.Errorf("a reseal: %d %s", a.status, a.body)
	}
	metrics := b.all[0].look("/metrics").body
	for _, want := range []string{"tokenbroker_cluster_live_origins 2", "tokenbroker_cluster_silent 0", "tokenbroker_cluster_settled_commits_total 0", "tokenbroker_cluster_rejoins_total 0", "tokenbroker_cluster_heads_lag_batches 0",
		`tokenbroker_cluster_services_without_speaker 0`, "tokenbroker_cluster_clock_limit_seconds 2",
		`tokenbroker_cluster_settlements_total{outcome="unknown"} 0`, "tokenbroker_store_writable 1"} {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			t.Errorf("missing %q", want)
		}
	}
	if problems, err := promlint.New(strings.NewReader(metrics)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("the metrics: %v, %v", problems, err)
	}
	stopped := b.all[1].status().Ledger.Origin
	b.all[1].stop() // its origin has no revocations, so nothing of it remains
	eventually(t, "the stopped broker is not listed", func() bool {
		got := b.all[0].status().Cluster
		return len(got.Brokers) == 1 && got.Brokers[0].Origin != stopped
	})
}

// TestABrokerWhoseNameWasTakenEnds cuts a broker off from the engine until its origin has ended and another broker has
// its name.
func TestABrokerWhoseNameWasTakenEnds(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	b := newBrokers(t, 2)
	cutOff := b.all[1]
	cutOff.refuse()
	b.end(cutOff)
	replacement := b.add(cutOff.name)
	if err := replacement.start(); err != nil {
		t.Fatal(err)
	}
	cutOff.heal()
	select {
	case err := <-cutOff.fatal:
		if !errors.Is(err, origins.ErrNameTaken) {
			t.Errorf("the broker ended: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the broker still runs")
	}
	replacement.becomes(http.StatusOK)
}

// TestABrokerStartsAlthoughTheStoreIsAwayForAMoment refuses some operations of a start, other ones each time.
func TestABrokerStartsAlthoughTheStoreIsAwayForAMoment(t *testing.T) {
	longtest.SkipShort(t, "waits between the attempts of a start")
	t.Parallel()
	b := newBrokers(t, 1)
	var starts sync.WaitGroup
	for i := range 5 {
		m := b.add(fmt.Sprint("other", i))
		var done atomic.Int64
		m.fail(func(memstore.Op) memstore.Fault {
			if n := int(done.Add(1)); n > 4*i && n <= 4*i+8 {
				return memstore.Refuse
			}
			return memstore.OK
		})
		starts.Go(func() {
			if err := m.start(); err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			m.becomes(http.StatusOK)
		})
	}
	starts.Wait()
}

// TestNoClientWaitsForABrokerThatJoins starts a broker again that was killed. It waits until nothing runs under its name, and its
// port refuses connections in that time.
func TestNoClientWaitsForABrokerThatJoins(t *testing.T) {
	longtest.SkipShort(t, "waits for real intervals")
	t.Parallel()
	b := newBrokers(t, 2)
	m, addr := b.all[1], b.all[1].addr
	m.kill()
	m.heal()
	started := make(chan error, 1)
	go func() { started <- m.start(func(c *node.Config) { c.Listen = addr }) }()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // the wait is longer
		if statusOf(ctx, t, "http://"+addr+"/readyz"); ctx.Err() != nil {
			t.Error("a client that connects to a broker that joins has to wait")
		}
		cancel()
		select {
		case err := <-started:
			if err != nil {
				t.Fatal(err)
			}
			m.becomes(http.StatusOK)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestConfigOfASharedStoreIsChecked checks what a node with an engine needs.
func TestConfigOfASharedStoreIsChecked(t *testing.T) {
	b := &brokers{lab: newLab(t), engine: memstore.NewEngine(nil)}
	for want, change := range map[string]func(*node.Config){
		"Name":                    func(c *node.Config) { c.Name = "" },
		"NATS.URL":                func(c *node.Config) { c.NATS = node.NATS{Listen: "127.0.0.1:0"} },
		"lifetimes.refresh_grace": func(c *node.Config) { c.Policy = session.DefaultPolicy; c.Policy.Grace = 2 * time.Second },
	} {
		if err := b.add("a").start(change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a configuration with a bad %s: %v", want, err)
		}
	}
}
