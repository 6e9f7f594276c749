package node_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/store/badgerstore"
	"tokenbroker/validator"
)

// TestAFullDisk checks that requests that write are refused with 503 before the disk is full, and
// that readyz reports it. Verification, catch-ups and key sets continue to work, services remain
// correct, and writes work again without a restart once there is space.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	free.Store(1 << 40)
	l := newFaultLab(t, func(c *node.Config) {
		c.FreeSpace = func(string) (uint64, error) { return free.Load(), nil }
	})
	v := l.startHTTPService(2 * time.Second)
	kept, ended := l.signIn(), l.signIn()
	if status := ended.logOff(); status != http.StatusOK {
		t.Fatalf("log-off: %d", status)
	}
	l.refused(v, ended)
	l.accepted(v, kept)

	free.Store(badgerstore.DefaultMinFree - 1)
	l.checkStatus("/readyz", http.StatusServiceUnavailable)
	for path, body := range map[string]string{
		"/auth/sign-in/": `{"username": "ada", "password": "lovelace"}`,
		"/auth/logoff/":  `{"CSRF_token": "` + kept.csrf + `"}`,
		"/auth/refresh/": `{"CSRF_token": "` + kept.csrf + `"}`,
	} {
		if status := kept.post(path, body); status != http.StatusServiceUnavailable {
			t.Errorf("%s without room: %d", path, status)
		}
	}
	for _, path := range []string{"/livez", "/revocations", "/revocations/jwks.json", "/.well-known/jwks.json", "/.well-known/openid-configuration"} {
		l.checkStatus(path, http.StatusOK)
	}
	for b, want := range map[*browser]int{kept: http.StatusOK, ended: http.StatusUnauthorized} {
		if status := b.post("/auth/verify/", `{"token": "`+b.access+`"}`); status != want {
			t.Errorf("verify without room: %d, want %d", status, want)
		}
	}
	late := l.startHTTPService(2 * time.Second) // starts with a catch-up on the full disk
	for _, service := range []*validator.Validator{v, late} {
		l.live(service)
		l.accepted(service, kept)
		l.refused(service, ended)
	}

	free.Store(badgerstore.DefaultMinFree)
	l.checkStatus("/readyz", http.StatusOK)
	kept.refreshes()
	again := l.signIn()
	l.accepted(v, again)
	for _, b := range []*browser{kept, again} {
		if status := b.logOff(); status != http.StatusOK {
			t.Errorf("log-off with room again: %d", status)
		}
		l.refused(v, b)
		l.refused(late, b)
	}
}

// checkStatus waits until the public listener answers GET path, with the service's credentials, with
// that status.
func (l *lab) checkStatus(path string, want int) {
	l.t.Helper()
	eventually(l.t, path+" answers "+http.StatusText(want), func() bool {
		req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "http://"+l.listen+path, nil)
		if err != nil {
			l.t.Fatal(err)
		}
		req.SetBasicAuth(service, secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			l.t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode == want
	})
}
