package faults_test

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// requestTimeout is how long a client waits for an answer. It is longer than a change of etcd's leader takes, and
// shorter than most faults.
const requestTimeout = 3 * time.Second

// answer is what a client receives. Status is 0 if the broker did not answer.
type answer struct {
	status int
	// cookie is the refresh cookie that the answer sets, cleared reports whether it clears it.
	cookie  string
	cleared bool
	body    map[string]any
	retry   string // Retry-After
	broker  int    // that answered, or -1
}

// text returns a member of the body.
func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

// unknown reports whether the outcome of the request is not known.
func (a answer) unknown() bool {
	return a.status == 0 || a.status == http.StatusBadGateway || a.status == http.StatusServiceUnavailable
}

// accepted reports whether a request that changes something was acknowledged.
func (a answer) accepted() bool { return a.status == http.StatusOK || a.status == http.StatusAccepted }

var browser = &http.Client{
	Timeout:   requestTimeout,
	Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute},
}

// anywhere is the target of a request that may go to any broker.
const anywhere = -1

// url returns the URL of a target, the number of a broker or anywhere: then the balancer chooses half of the time.
func (c *cluster) url(target int) (base string, broker int) {
	if target == anywhere {
		if rand.IntN(2) == 0 {
			return c.issuer, anywhere
		}
		target = rand.IntN(size)
	}
	return c.urls[target], target
}

// send posts a JSON object, or a form if it is one for introspection.
func (c *cluster) send(target int, path, cookie string, body map[string]string) answer {
	base, broker := c.url(target)
	text, _ := json.Marshal(body)
	req, err := http.NewRequest(http.MethodPost, base+path, strings.NewReader(string(text)))
	if err != nil {
		return answer{broker: broker}
	}
	req.Header.Set("Content-Type", "application/json")
	if path == introspection {
		req.Body = io.NopCloser(strings.NewReader("token=" + body["token"]))
		req.ContentLength = int64(len("token=" + body["token"]))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(serviceClient, serviceSecret)
	}
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := browser.Do(req)
	if err != nil {
		return answer{broker: broker}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, retry: resp.Header.Get("Retry-After"), broker: broker}
	if at, err := strconv.Atoi(resp.Header.Get(brokerHeader)); err == nil {
		a.broker = at
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{broker: a.broker}
	}
	_ = json.Unmarshal(raw, &a.body) // 502 of the balancer has none
	for _, set := range resp.Cookies() {
		if set.MaxAge < 0 {
			a.cleared = true
		} else {
			a.cookie = set.Name + "=" + set.Value
		}
	}
	return a
}

const introspection = "/oauth2/introspect"

// visit is a session as its browser has it.
type visit struct{ access, csrf, cookie string }

func (c *cluster) signIn(target int, user string) (visit, answer) {
	a := c.send(target, "/auth/sign-in/", "", map[string]string{"username": user, "password": password})
	return visit{a.text("access_token"), a.text("CSRF_token"), a.cookie}, a
}

func (c *cluster) refresh(target int, v visit) answer {
	return c.send(target, "/auth/refresh/", v.cookie, map[string]string{"CSRF_token": v.csrf})
}

func (c *cluster) logOff(target int, v visit) answer {
	return c.send(target, "/auth/logoff/", v.cookie, map[string]string{"CSRF_token": v.csrf})
}

// check asks a broker about the access token, by verification or introspection. known is false if the broker did not answer.
func (c *cluster) check(target int, access string) (active, known bool, a answer) {
	if rand.IntN(2) == 0 {
		a = c.send(target, introspection, "", map[string]string{"token": access})
		active, _ = a.body["active"].(bool)
		return active, a.status == http.StatusOK, a
	}
	a = c.send(target, "/auth/verify/", "", map[string]string{"token": access})
	return a.status == http.StatusOK, a.status == http.StatusOK || a.status == http.StatusUnauthorized, a
}

// given returns an answer, also 503: a busy machine may need longer than the client waits.
func given(t *testing.T, send func() answer) (a answer) {
	t.Helper()
	eventually(t, "an answer", func() bool { a = send(); return a.status != 0 })
	return a
}

// status returns the status of a GET at broker i, with the account of the services.
func (c *cluster) status(t *testing.T, i int, path string) int {
	ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.urls[i]+path, nil)
	if err != nil {
		return 0
	}
	req.SetBasicAuth(serviceClient, serviceSecret)
	resp, err := browser.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// command is a program that ends with the test.
func command(t *testing.T, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), program, args...)
}

// leader returns the number of the etcd member that leads, and the ids of all members in hex. It asks the members
// directly, and waits until one of them is led.
func (c *cluster) leader(t *testing.T) (leader int, ids []string) {
	t.Helper()
	eventually(t, "etcd has a leader", func() bool {
		leader, ids = -1, nil
		for j, url := range c.clients {
			status, err := memberStatus(t, url)
			if err != nil {
				ids = append(ids, "")
				continue
			}
			ids = append(ids, strconv.FormatUint(status.Header.MemberId, 16))
			if status.Leader == status.Header.MemberId {
				leader = j
			}
		}
		return leader >= 0
	})
	return leader, ids
}

func memberStatus(t *testing.T, url string) (*clientv3.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Context: ctx})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Status(ctx, url)
}
