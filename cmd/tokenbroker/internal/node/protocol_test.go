package node_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// oldHeartbeat has the members of a heartbeat that a service of protocol 1 reads.
type oldHeartbeat struct {
	V         int    `json:"v"`
	Store     string `json:"store"`
	Origin    string `json:"origin"`
	Head      uint64 `json:"head"`
	Up        int64  `json:"up"`
	AtMS      int64  `json:"at_ms"`
	TimeFloor *int64 `json:"time_floor"`
	JWKS      string `json:"jwks"`
}

// oldBatch has those of a batch.
type oldBatch struct {
	V      int    `json:"v"`
	Store  string `json:"store"`
	Origin string `json:"origin"`
	Seq    uint64 `json:"seq"`
	Events []struct {
		Kind  string `json:"kind"`
		Value string `json:"value"`
	} `json:"events"`
}

// askAsService sends a request as the service and returns the response. The caller closes its body.
func (l *lab) askAsService(method, path, body string) *http.Response {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.node.Issuer()+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	req.SetBasicAuth(service, secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp
}

// catchUp returns the members of an answer.
func (l *lab) catchUp(query string) map[string]any {
	l.t.Helper()
	resp := l.askAsService(http.MethodGet, "/revocations"+query, "")
	defer func() { _ = resp.Body.Close() }()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		l.t.Fatalf("catch-up %q: %s, %v", query, resp.Status, err)
	}
	return answer
}

// payload decodes the payload of a signed message.
func payload(t *testing.T, raw []byte, into any) {
	t.Helper()
	parts := bytes.Split(raw, []byte("."))
	if len(parts) != 3 {
		t.Fatalf("not a compact JWS: %s", raw)
	}
	text, err := base64.RawURLEncoding.DecodeString(string(parts[1]))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestOneBrokerServesServicesOfProtocol1 reads the feed of a single broker in each of its forms as a service that
// was built before several brokers were possible: nothing that it relies on has changed.
func TestOneBrokerServesServicesOfProtocol1(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	nc := l.dialNATS()
	batches, err := nc.SubscribeSync("tokenbroker.revocation.>")
	if err != nil {
		t.Fatal(err)
	}
	heartbeats, err := nc.SubscribeSync("tokenbroker.heartbeat.>")
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}

	full := l.catchUp("")
	members := []string{"at_ms", "events", "full", "kids", "origin", "origins", "store", "time_floor", "up", "v"}
	if diff := cmp.Diff(members, slices.Sorted(maps.Keys(full))); diff != "" {
		t.Errorf("members of an answer (-want +got):\n%s", diff)
	}
	origin := full["origin"].(string)
	if diff := cmp.Diff([]any{map[string]any{"origin": origin, "head": 0.0}}, full["origins"]); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
	streamed := l.askAsService(http.MethodGet, "/revocations/stream?after="+origin+".0", "")
	defer func() { _ = streamed.Body.Close() }()
	stream := &streamConn{lines: bufio.NewReader(streamed.Body)}
	b := l.signIn()
	sid := claimOf(t, b.access, "sid")
	if status := b.logOff(); status != http.StatusOK {
		t.Fatalf("log-off: %d", status)
	}

	since, after := l.catchUp("?after="+origin+".0"), l.catchUp("?after="+origin+".0&speaks=2")
	events, _ := since["events"].([]any)
	if since["full"] != false || len(events) != 1 || events[0].(map[string]any)["value"] != sid {
		t.Errorf("the answer after %s.0 is %v", origin, since)
	}
	for _, moment := range []string{"up", "at_ms"} {
		delete(since, moment)
		delete(after, moment)
	}
	if diff := cmp.Diff(since, after); diff != "" {
		t.Errorf("the answers without and with speaks=2 differ:\n%s", diff)
	}

	wantBatch := func(raw []byte) {
		t.Helper()
		var got oldBatch
		payload(t, raw, &got)
		if got.V != 1 || got.Store != full["store"] || got.Origin != origin || got.Seq != 1 || len(got.Events) != 1 || got.Events[0].Value != sid {
			t.Errorf("batch %+v", got)
		}
	}
	wantHeartbeat := func(raw []byte) (head uint64) {
		t.Helper()
		var got oldHeartbeat
		payload(t, raw, &got)
		if got.V != 1 || got.Store != full["store"] || got.Origin != origin || got.Up <= 0 || got.AtMS <= 0 || got.TimeFloor == nil || got.JWKS == "" {
			t.Errorf("heartbeat %+v", got)
		}
		return got.Head
	}
	next := func(s *nats.Subscription) []byte {
		t.Helper()
		m, err := s.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(m.Subject, "."+origin) {
			t.Errorf("a message on %s", m.Subject)
		}
		return m.Data
	}
	wantBatch(next(batches))
	for wantHeartbeat(next(heartbeats)) < 1 {
	}

	// The stream: each position is the only origin's.
	for batch, heartbeat := false, false; !batch || !heartbeat; {
		name, err := stream.value("event: ")
		if err != nil {
			t.Fatal(err)
		}
		id, err := stream.value("id: ")
		if err != nil {
			t.Fatal(err)
		}
		data, err := stream.value("data: ")
		if err != nil {
			t.Fatal(err)
		}
		seq := uint64(1)
		if name == "batch" {
			wantBatch([]byte(data))
			batch = true
		} else if seq = wantHeartbeat([]byte(data)); seq == 1 {
			heartbeat = true
		}
		if !batch {
			seq = 0 // a heartbeat may state a batch that is not sent yet
		}
		if want := origin + "." + strconv.FormatUint(seq, 10); id != want {
			t.Errorf("%s has the id %s, want %s", name, id, want)
		}
	}

	// Receipts without speaks count as before, over HTTP and over NATS.
	resp := l.askAsService(http.MethodPost, "/revocations/receipt", `{"v":1,"service":"svc/old","applied":{"`+origin+`":1},"fresh":true,"age_ms":0}`)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("the receipt is answered %s", resp.Status)
	}
	if err := nc.Publish("tokenbroker.receipt.over-nats", []byte(`{"v":1,"service":"over-nats/old","applied":{"`+origin+`":1},"fresh":true,"age_ms":0}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are waited for", func() bool {
		return cmp.Equal(l.signIn().logOffWaiting("100ms"), broker.ReceiptSummary{Of: 2})
	})
	l.checkReady("ready")
}

// value returns the rest of the next line that has that prefix.
func (c *streamConn) value(prefix string) (string, error) {
	for {
		line, err := c.lines.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, prefix); err != nil || ok {
			return strings.TrimRight(rest, "\r\n"), err
		}
	}
}

// TestThePositionsOfTheMaximumLengthAreRead: a request line and a header of that length are below the limits of the listener.
func TestThePositionsOfTheMaximumLengthAreRead(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.startBroker()
	known := map[string]uint64{}
	for i := range revocation.MaxOrigins {
		known[fmt.Sprintf("%026d", i)] = revocation.MaxSeq
	}
	position := revocation.FormatPosition(known)
	if len(position) < revocation.MaxPositionBytes-50 {
		t.Fatalf("the position has only %d bytes", len(position))
	}
	if answer := l.catchUp("?speaks=2&after=" + url.QueryEscape(position)); answer["full"] != true {
		t.Errorf("the answer after unknown origins is %v", answer)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.node.Issuer()+"/revocations/stream?speaks=2", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(service, secret)
	req.Header.Set("Last-Event-ID", position)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	stream := &streamConn{lines: bufio.NewReader(resp.Body)}
	if name, err := stream.value("event: "); err != nil || name != "reset" {
		t.Errorf("%s: the first event is %q, %v", resp.Status, name, err)
	}
}
