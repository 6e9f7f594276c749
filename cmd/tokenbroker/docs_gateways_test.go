package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"tokenbroker/internal/freeport"
	"tokenbroker/internal/longtest"
)

// authHeaders are the headers that a gateway takes over from the broker's answer.
var authHeaders = []string{"X-Auth-Subject", "X-Auth-Client", "X-Auth-Scope", "X-Auth-Session"}

// TestDocsGateways runs the configurations of docs/gateways.md in nginx and Caddy, before a service and with a
// broker behind.
func TestDocsGateways(t *testing.T) {
	longtest.SkipShort(t, "starts reverse proxies")
	dev := startDev(t)
	b := newBrowser(t, dev.issuer)
	answer := b.post("/auth/sign-in/", `{"username": "admin", "password": "admin"}`, http.StatusOK)
	access, csrf := answer["access_token"].(string), answer["CSRF_token"].(string)
	claims := b.post("/auth/verify/", jsonBody("token", access), http.StatusOK)
	service := newEcho(t)
	gateways := map[string]string{}
	for _, name := range []string{"nginx", "caddyfile"} {
		gateways[name] = startGateway(t, name, dev.issuer, service.URL)
		t.Run(name, func(t *testing.T) { checkGateway(t, gateways[name], access, claims) })
		t.Run(name+" and an answer without claims", func(t *testing.T) { checkAbsentClaims(t, name, service.URL) })
	}
	b.post("/auth/logoff/", jsonBody("CSRF_token", csrf), http.StatusOK)
	for name, url := range gateways {
		if status, _, _ := throughGateway(t, url, "Bearer "+access); status != http.StatusUnauthorized {
			t.Errorf("%s after the log-off: %d", name, status)
		}
	}
	dev.finish(t)
}

// forgedHeaders are all names that an application server may take for one of authHeaders: CGI and
// its successors (WSGI, Rack, PHP) know hyphens and underscores as one character.
func forgedHeaders() []string {
	var names []string
	for _, name := range authHeaders {
		underscored := strings.Replace(name, "-", "_", 1) // of two hyphens
		names = append(names, name, underscored, strings.ReplaceAll(name, "-", "_"), "X-"+strings.TrimPrefix(strings.ReplaceAll(name, "-", "_"), "X_"))
	}
	return names
}

// newEcho is a service that answers with the headers and the body that reached it.
func newEcho(t *testing.T) *httptest.Server {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(map[string]any{"headers": r.Header, "body": string(body)})
	}))
	t.Cleanup(echo.Close)
	return echo
}

func checkGateway(t *testing.T, url, access string, claims map[string]any) {
	want := map[string]string{
		"X-Auth-Subject": claims["sub"].(string), "X-Auth-Client": claims["client_id"].(string),
		"X-Auth-Scope": claims["scope"].(string), "X-Auth-Session": claims["sid"].(string),
	}
	status, reached, _ := throughGateway(t, url, "Bearer "+access)
	if status != http.StatusOK || reached.Body != "the body" {
		t.Fatalf("a good token: %d, body %q", status, reached.Body)
	}
	for name, value := range want {
		if got := reached.Headers.Values(name); !slices.Equal(got, []string{value}) {
			t.Errorf("%s reached the service as %q, want %q", name, got, value)
		}
	}
	reached.wantNothingForged(t)
	for name, authorization := range map[string]string{"no": "", "an empty": "Bearer ", "a bad": "Bearer nonsense", "another": "Basic YTpi"} {
		status, reached, challenge := throughGateway(t, url, authorization)
		if status != http.StatusUnauthorized || reached.Headers != nil || !strings.HasPrefix(challenge, "Bearer ") {
			t.Errorf("%s token: %d, challenge %q, reached the service: %v", name, status, challenge, reached.Headers != nil)
		}
	}
}

// checkAbsentClaims uses a broker that accepts the token and returns no claims: the gateway must not pass on
// the caller's own values instead.
func checkAbsentClaims(t *testing.T, name, service string) {
	yes := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if id := r.Header.Values("X-Request-Id"); slices.Contains(id, callersRequestID) {
			t.Errorf("the broker would log the request under the id %q, which the caller chose", id)
		}
	}))
	defer yes.Close()
	status, reached, _ := throughGateway(t, startGateway(t, name, yes.URL, service), "Bearer t1")
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	reached.wantNothingForged(t)
	for _, name := range authHeaders {
		if got := reached.Headers.Values(name); len(got) != 0 {
			t.Errorf("%s reached the service as %q", name, got)
		}
	}
}

// echoed is what reached the service.
type echoed struct {
	Headers http.Header
	Body    string
}

func (e echoed) wantNothingForged(t *testing.T) {
	t.Helper()
	for name, values := range e.Headers {
		if slices.Contains(values, "forged") {
			t.Errorf("the caller's own %s reached the service", name)
		}
	}
}

const callersRequestID = "id-of-the-caller"

// throughGateway sends a request with forged identity headers.
func throughGateway(t *testing.T, url, authorization string) (status int, reached echoed, challenge string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/orders?id=7", strings.NewReader("the body"))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("X-Request-Id", callersRequestID)
	req.Header.Set("Connection", "keep-alive, "+strings.ToLower(strings.Join(authHeaders[:2], ","))+", "+strings.Join(authHeaders[2:], ", ")) // a proxy drops what it names
	for _, name := range forgedHeaders() {
		req.Header[name] = []string{"forged"}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &reached); err != nil {
			t.Fatal(err)
		}
	}
	return res.StatusCode, reached, res.Header.Get("WWW-Authenticate")
}

// startGateway runs a configuration of docs/gateways.md and returns its URL.
func startGateway(t *testing.T, name, broker, service string) string {
	t.Helper()
	bare := func(url string) string { return strings.TrimPrefix(url, "http://") }
	address := "127.0.0.1:" + freeport.Take(t, 1)[0]
	config := strings.NewReplacer("127.0.0.1:8080", bare(broker), "127.0.0.1:9000", bare(service), "127.0.0.1:8000", address).
		Replace(docsFence(t, "gateways.md", name))
	runProxy(t, name, address, config)
	return "http://" + address
}

// Traefik is not run here. The test checks that its configuration replaces the same headers.
func TestDocsGatewayOfTraefik(t *testing.T) {
	var config struct {
		HTTP struct {
			Routers     map[string]struct{ Middlewares []string }
			Middlewares map[string]struct {
				Headers struct {
					CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
				}
				ForwardAuth struct {
					Address             string
					AuthRequestHeaders  []string `yaml:"authRequestHeaders"`
					AuthResponseHeaders []string `yaml:"authResponseHeaders"`
				} `yaml:"forwardAuth"`
			}
		}
	}
	if err := yaml.Unmarshal([]byte(docsFence(t, "gateways.md", "yaml traefik")), &config); err != nil {
		t.Fatal(err)
	}
	if got := config.HTTP.Routers["orders"].Middlewares; !slices.Equal(got, []string{"clean", "tokenbroker"}) {
		t.Errorf("middlewares %q", got)
	}
	cleaned := config.HTTP.Middlewares["clean"].Headers.CustomRequestHeaders
	for _, name := range forgedHeaders() {
		if value, found := cleaned[name]; !found || value != "" {
			t.Errorf("the caller's %s is not removed", name)
		}
	}
	forward := config.HTTP.Middlewares["tokenbroker"].ForwardAuth
	if !slices.Equal(forward.AuthResponseHeaders, authHeaders) || !slices.Equal(forward.AuthRequestHeaders, []string{"Authorization"}) || !strings.Contains(forward.Address, "/auth/verify") {
		t.Errorf("forwardAuth %+v", forward)
	}
}
