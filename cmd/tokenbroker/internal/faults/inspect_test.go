package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"tokenbroker/api/admin"
)

// adminGet answers a request at the operators' socket of broker i.
func (c *cluster) adminGet(t *testing.T, i int, path string, take func(*http.Response) error) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.data(i), "admin", "admin.sock"))
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var resp *http.Response
	eventually(t, "the broker can answer", func() bool { // not for a moment after it was stopped, as on a busy machine
		if resp, err = (&http.Client{Transport: transport, Timeout: patience}).Do(req); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable {
			_ = resp.Body.Close()
			return false
		}
		return true
	})
	defer resp.Body.Close()
	if err := take(resp); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s at broker %d: %s, %v", path, i, resp.Status, err)
	}
}

// overview is what `tokenbroker status` prints of broker i.
func (c *cluster) overview(t *testing.T, i int) (status admin.Status) {
	t.Helper()
	c.adminGet(t, i, "/admin/v1/status", func(resp *http.Response) error { return json.NewDecoder(resp.Body).Decode(&status) })
	return status
}

// metric returns a metric without labels of broker i.
func (c *cluster) metric(t *testing.T, i int, name string) (value float64) {
	t.Helper()
	found := false
	c.adminGet(t, i, "/metrics", func(resp *http.Response) error {
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				found = true
				var err error
				if value, err = strconv.ParseFloat(text, 64); err != nil {
					return err
				}
			}
		}
		return lines.Err()
	})
	if !found {
		t.Fatalf("broker %d has no metric %s", i, name)
	}
	return value
}

// etcd returns a client of the members, which it reaches directly.
func (c *cluster) etcd(t *testing.T) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.clients, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// records returns the number of records of the brokers whose key begins with prefix.
func records(t *testing.T, client *clientv3.Client, prefix string) int64 {
	t.Helper()
	return get(t, client, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly()).Count
}

// get reads a record of the brokers, again while there is no leader.
func get(t *testing.T, client *clientv3.Client, key string, options ...clientv3.OpOption) (found *clientv3.GetResponse) {
	t.Helper()
	eventually(t, "etcd answers", func() bool {
		var err error
		found, err = client.Get(t.Context(), "tokenbroker/"+key, options...)
		return err == nil
	})
	return found
}

// restart stops broker i properly and starts it again, with more environment variables if the test needs some. The broker
// may not be ready yet.
func (c *cluster) restart(t *testing.T, i int, env ...string) {
	t.Helper()
	c.brokers[i].terminate(t)
	c.startBroker(t, i, env...)
	c.brokers[i].ready(t, brokerReady)
}

// timeFloor returns the time before which every revocation has been collected.
func timeFloor(t *testing.T, client *clientv3.Client) time.Time {
	t.Helper()
	found := get(t, client, "ledger.time_floor")
	var floor struct {
		TimeFloor int64 `json:"time_floor"`
	}
	if len(found.Kvs) > 0 {
		if err := json.Unmarshal(found.Kvs[0].Value[bytes.IndexByte(found.Kvs[0].Value, '{'):], &floor); err != nil {
			t.Fatal(err)
		}
	}
	return time.Unix(floor.TimeFloor, 0)
}
