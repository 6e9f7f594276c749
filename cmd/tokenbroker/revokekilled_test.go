package main

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	op "tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/internal/longtest"
	"tokenbroker/revocation"
)

// The broker is killed while requests are in progress. Afterwards the acknowledged revocations are recorded,
// and sending the whole list again changes only the rest.
func TestAcknowledgedBulkRevocationSurvivesAKill(t *testing.T) {
	needDev(t)
	longtest.SkipShort(t, "kills a broker")
	t.Parallel()
	const requests, killAfter = 60, 15
	dir := filepath.Join(t.TempDir(), "data")
	args := []string{"dev", "--data-dir", dir, "--log-level", "error", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
		"--sample-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--idp-listen", "127.0.0.1:0"}
	running := startBroker(t, readyDev, args...)

	values := make([][]string, requests)
	for i := range values {
		for j := range op.MaxBulkRevocation {
			values[i] = append(values[i], fmt.Sprintf("01890000-0000-7000-8000-%06d%06d", i, j))
		}
	}
	send := func(client *adminclient.Client, i int) (op.BulkRevoked, error) {
		return client.RevokeBulk(t.Context(), adminclient.BulkRevocation{Kind: revocation.KindJTI, Values: values[i]})
	}
	client := adminOf(t, dir)
	var (
		mu           sync.Mutex
		acknowledged []int
		group        sync.WaitGroup
	)
	next, enough := make(chan int, requests), make(chan struct{})
	for i := range requests {
		next <- i
	}
	close(next)
	for range 4 {
		group.Go(func() {
			for i := range next {
				if _, err := send(client, i); err != nil {
					return // it was killed
				}
				mu.Lock()
				if acknowledged = append(acknowledged, i); len(acknowledged) == killAfter {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(patience):
		t.Fatal("too few requests were answered")
	}
	running.kill(t)
	group.Wait()

	startBroker(t, readyDev, args...)
	client = adminOf(t, dir)
	recorded := revokedNow(t, client)
	for _, i := range acknowledged {
		for _, v := range values[i] {
			if !recorded[v] {
				t.Fatalf("%s was acknowledged and is lost", v)
			}
		}
	}
	t.Logf("%d of %d requests were acknowledged, %d values recorded", len(acknowledged), requests, len(recorded))
	changed := 0
	for i := range values {
		done, err := send(client, i)
		if err != nil || done.Recorded != len(values[i]) {
			t.Fatalf("again: %+v, %v", done, err)
		}
		changed += done.Changed
	}
	if all := requests * op.MaxBulkRevocation; changed != all-len(recorded) || len(revokedNow(t, client)) != all {
		t.Errorf("again: %d changed of the %d that were not recorded", changed, all-len(recorded))
	}
}

func adminOf(t *testing.T, dir string) *adminclient.Client {
	t.Helper()
	client, err := adminclient.Locate(adminclient.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// revokedNow is the values of the live revocations.
func revokedNow(t *testing.T, client *adminclient.Client) map[string]bool {
	t.Helper()
	values := map[string]bool{}
	for after := ""; ; {
		page, err := client.ListRevocations(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Revocations {
			values[e.Value] = true
		}
		if after = page.Next; after == "" {
			return values
		}
	}
}
