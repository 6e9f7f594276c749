package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tokenbroker/internal/freeport"
)

// balanced checks that the balancer of docs/operate.md sends requests only to the brokers that run, and that requests are
// answered by a broker if none of them is ready by the balancer's checks.
func (b *sharedBrokers) balanced(t *testing.T) {
	t.Helper()
	config := "defaults\nmode http\ntimeout connect 5s\ntimeout client 60s\ntimeout server 60s\n" + withoutTLS.ReplaceAllString(docsFence(t, "operate.md", "haproxy (brokers)"), "")
	for i, url := range b.urls {
		config = strings.ReplaceAll(config, fmt.Sprintf("10.0.0.%d:8080", i+1), strings.TrimPrefix(url, "http://"))
	}
	for name, check := range map[string]string{"ready": "GET /readyz", "unready": "GET /nowhere"} {
		address := "127.0.0.1:" + freeport.Take(t, 1)[0]
		runProxy(t, "haproxy", address, strings.NewReplacer("bind :443", "bind "+address, "GET /readyz", check,
			"default_backend", "http-request return status 299 if { path /down } { nbsrv(ready) eq 0 }\n    default_backend").Replace(config))
		eventually(t, "the checks have decided", func() bool {
			status, _, _ := request("http://"+address+"/down", "", "")
			return (status == 299) == (name == "unready")
		})
		var v visit
		eventually(t, "a sign-in through the balancer", func() (ok bool) {
			v, ok = trySignInAs("http://"+address, "ada", "correct horse")
			return ok
		})
		for range 3 * len(b.urls) {
			var status int
			var body []byte
			eventually(t, "a broker can answer", func() bool { // 503 of the balancer is not repeated
				status, body, _ = request("http://"+address+"/auth/verify/", jsonBody("token", v.access), "")
				return status != http.StatusServiceUnavailable || !strings.Contains(string(body), `"unavailable"`)
			})
			if status != http.StatusOK {
				t.Errorf("%s: verify through the balancer while a broker is down: %d %s", name, status, body)
			}
		}
	}
}
