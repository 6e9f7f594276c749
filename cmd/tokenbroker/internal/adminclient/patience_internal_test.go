package adminclient

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker/operator"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// refusal is an answer of a server; retryAfter is "" without one.
type refusal struct {
	status           int
	code, retryAfter string
}

// TestARequestIsSentAgain: every attempt has the whole request, and the time is bounded.
func TestARequestIsSentAgain(t *testing.T) {
	later := refusal{503, "unavailable", "1"}
	for _, c := range []struct {
		name    string
		refused []refusal // the last one is repeated; 0 is success
		sent    int
		took    time.Duration
		err     string
	}{
		{"answered at once", []refusal{{}}, 1, 0, ""},
		{"an election", []refusal{later, later, {503, "busy", "2"}, {}}, 4, 4 * time.Second, ""},
		{"a store that does not answer", []refusal{later}, 11, 10 * time.Second, "unavailable: text"},
		{"a full disk", []refusal{{503, "writes_refused", "1"}}, 1, 0, "writes_refused: text"},
		{"too late", []refusal{{503, "busy", "30"}}, 1, 0, "busy: text"},
		{"no time", []refusal{{503, "unavailable", ""}}, 1, 0, "unavailable: text"},
		{"a proxy", []refusal{{503, "", "1"}}, 1, 0, "the server answered 503 Service Unavailable: is "},
		{"not ready", []refusal{{503, "not_ready", "1"}}, 1, 0, "not_ready: text"},
		{"a user who exists", []refusal{{409, "user_exists", ""}}, 1, 0, "user_exists: text"},
		{"a user whom an attempt may have added", []refusal{later, {409, "user_exists", ""}}, 2, time.Second, "user_exists: text; an earlier attempt "},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent, began := 0, time.Now()
				server := roundTripper(func(r *http.Request) (*http.Response, error) {
					now := c.refused[min(sent, len(c.refused)-1)]
					sent++
					if body, err := io.ReadAll(r.Body); err != nil || string(body) != `{"username":"ada","password":"pw"}` {
						t.Errorf("attempt %d: %q, %v", sent, body, err)
					}
					resp := &http.Response{StatusCode: 201, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}
					if now.status != 0 {
						resp.StatusCode, resp.Body = now.status, io.NopCloser(strings.NewReader(`{"code":"`+now.code+`","detail":"text"}`))
						resp.Header.Set("Content-Type", "application/problem+json")
						resp.Header.Set("Retry-After", now.retryAfter)
					}
					return resp, nil
				})
				client := &Client{http: &http.Client{Transport: server}, target: "x"}
				_, err := client.AddUser(t.Context(), operator.NewUser{Username: "ada", Password: "pw"})
				if (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				if took := time.Since(began); sent != c.sent || took != c.took {
					t.Errorf("sent %d times in %s, want %d in %s", sent, took, c.sent, c.took)
				}
				if err != nil && sent == 1 && strings.Contains(err.Error(), "attempt") {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// TestABackupIsAskedForAgain: nothing is written to the file before the server accepts the request.
func TestABackupIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		client := &Client{target: "x", http: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			if sent++; sent < 3 {
				return &http.Response{
					StatusCode: 503, Header: http.Header{"Content-Type": {"application/problem+json"}, "Retry-After": {"1"}},
					Body: io.NopCloser(strings.NewReader(`{"code":"unavailable"}`)),
				}, nil
			}
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("records"))}, nil
		})}}
		var got strings.Builder
		if err := client.Backup(t.Context(), &got); err != nil || got.String() != "records" {
			t.Errorf("%q, %v", got.String(), err)
		}
	})
}
