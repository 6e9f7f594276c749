package interop

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// The redirect URI of the MCP clients. The browser of the tests stops before it, so nothing listens there.
const mcpCallback = "http://127.0.0.1:54321/callback"

// startMCP starts examples/mcp, and a broker that accepts clients that nobody registered by hand. The returned URL is that of the MCP
// server.
func startMCP(t *testing.T) (*server, string) {
	t.Helper()
	program := build(t, "../examples/mcp", ".", "mcp")
	const secret = "a-client-secret-of-more-than-32-characters"
	address := "127.0.0.1:" + freePorts(t, 1)[0]
	resource := "http://" + address + "/mcp"
	s := startServer(t, strings.ReplaceAll(`
  mcp-server:
    secret: `+secret+`
    grants: [client_credentials]
    scopes: ["hello:read"]
oauth:
  resources: {demo-api: "`+resource+`"}
  scopes_supported: SCOPES
  cimd: {enabled: true, insecure_loopback: true, scopes: SCOPES}
  registration: {enabled: true, scopes: SCOPES}
`, "SCOPES", `[openid, profile, offline_access, "hello:read"]`))
	cmd := s.trusting(exec.Command(program, "-listen", address, "-resource", resource, "-issuer", s.issuer, "-audience", "demo-api",
		"-client", "mcp-server"))
	cmd.Env = append(cmd.Env, "SERVICE_SECRET="+secret)
	start(t, "listening", cmd)
	return s, resource
}

// clientDocument serves the metadata document of a client with https and the server's certificate. Other requests fail the test: the
// broker does not fetch what the document links to.
func clientDocument(t *testing.T, s *server) (url string, fetched *atomic.Int32) {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(s.ca, s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	fetched = new(atomic.Int32)
	documents := httptest.NewUnstartedServer(nil)
	documents.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/client.json" {
			t.Errorf("a request for %s", r.URL)
			return
		}
		fetched.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=3600")
		_ = json.NewEncoder(w).Encode(clientMetadata(url, documents.URL))
	})
	documents.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	documents.StartTLS()
	t.Cleanup(documents.Close)
	url = documents.URL + "/client.json"
	return url, fetched
}

// clientMetadata returns what a client of the tests says about itself.
func clientMetadata(id, site string) map[string]any {
	return map[string]any{
		"client_id": id, "client_name": "An assistant", "client_uri": site + "/", "logo_uri": site + "/logo.png",
		"redirect_uris": []string{mcpCallback}, "grant_types": []string{"authorization_code", "refresh_token"},
		"response_types": []string{"code"}, "token_endpoint_auth_method": "none", "application_type": "native",
	}
}

// TestMCPClientsOfTheTypeScriptSDK takes the clients of both versions of the SDK through the whole flow, by a metadata document and by
// registration.
func TestMCPClientsOfTheTypeScriptSDK(t *testing.T) {
	node(t, "") // fails or skips before the servers start
	s, resource := startMCP(t)
	document, fetched := clientDocument(t, s)
	b, authorizations := newBrowser(t, s, mcpCallback), 0
	const one, two = "@modelcontextprotocol/sdk", "@modelcontextprotocol/client"
	for _, tt := range []struct{ name, pkg, method, protocol string }{
		{"1 with a document", one, "", ""},
		{"1 registered, none", one, "none", ""},
		{"1 registered, client_secret_post", one, "client_secret_post", ""},
		{"2 with a document", two, "", ""},
		{"2 with a document, MCP 2026-07-28", two, "", "2026-07-28"},
		{"2 registered, none", two, "none", ""},
		{"2 registered, client_secret_basic, MCP 2026-07-28", two, "client_secret_basic", "2026-07-28"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := s.trusting(node(t, "client.mjs", tt.pkg))
			cmd.Env = append(cmd.Env, "SERVER="+resource, "ISSUER="+s.issuer, "REDIRECT_URI="+mcpCallback, "PROTOCOL="+tt.protocol)
			if tt.method == "" {
				cmd.Env = append(cmd.Env, "CLIENT_DOCUMENT="+document)
			} else {
				cmd.Env = append(cmd.Env, "AUTH_METHOD="+tt.method)
			}
			printed := runLines(t, cmd, func(line string) string {
				if to, ok := strings.CutPrefix(line, "open "); ok {
					authorizations++
					return b.authorize(t, to).String()
				}
				return ""
			})
			if n := strings.Count(printed, "ok: "); n != 6 {
				t.Errorf("%d steps, want 6:\n%s", n, printed)
			}
		})
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("the document was fetched %d times, want once", n)
	}
	// The broker remembers no consent for them.
	if authorizations != 7 || b.consents != authorizations {
		t.Errorf("%d authorizations with %d consents, want 7 with 7", authorizations, b.consents)
	}
}
