package devserver

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"tokenbroker/api"
	"tokenbroker/api/browser"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/customclaims"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/docs"
	"tokenbroker/internal/private"
	"tokenbroker/keyring"
)

// brokerSettings are the settings of a broker of the development server. A broker that is a process of its own reads them from
// a file.
type brokerSettings struct {
	DataDir     string   `json:"data_dir"`
	Listen      string   `json:"listen"`
	AdminListen string   `json:"admin_listen"`
	Emulator    string   `json:"emulator"`
	Origins     []string `json:"origins"`
	Services    []string `json:"services"`
	Thief       string   `json:"thief"`
	// The others are for a broker that is a process of its own. Issuer is the URL of the proxy in front of it, and Etcd are the
	// client URLs of the members of the etcd cluster.
	Name     string   `json:"name"`
	Issuer   string   `json:"issuer"`
	NATS     string   `json:"nats"`
	Etcd     []string `json:"etcd"`
	KEKFile  string   `json:"kek_file"`
	LogLevel string   `json:"log_level"`
}

// settings returns the settings of the broker in this process.
func (r *run) settings() brokerSettings {
	return brokerSettings{
		DataDir: r.dataDir, Listen: r.Listen, AdminListen: r.AdminListen, Emulator: r.emulator.url(),
		Origins: r.Origins, Services: r.samples.urls(), Thief: r.samples.thiefURL(),
	}
}

// config returns the configuration that every broker of the development server has. It has no NATS, Version and Fatal.
func (s brokerSettings) config(logger *slog.Logger) (node.Config, error) {
	claims, err := customclaims.New(customclaims.DefaultConfig())
	if err != nil {
		return node.Config{}, fmt.Errorf("making the claims: %w", err)
	}
	return node.Config{
		DataDir: s.DataDir, Listen: s.Listen, Seed: addUser, Admin: node.Admin{Listen: s.AdminListen},
		Schedule: keyring.Schedule{RotateEvery: keyring.DefaultRotateEvery}, Audience: []string{Audience}, BrowserClient: BrowserClient, BrowserScope: Scope,
		Clients: clients(), Resources: map[string]string{Audience: resourceURI(s.Services), MCPAudience: MCPResource},
		ScopeTexts: map[string]string{Scope: "Read greetings from the demo services"}, ScopesSupported: selfDescribedScopes(),
		Documents: node.Documents{Enabled: true, InsecureLoopback: true, Policy: selfDescribed()},
		Registration: node.Registration{
			Enabled: true, PerMinute: 100, MaxClients: 1000, UnusedAfter: 30 * 24 * time.Hour,
			Policy: selfDescribed(),
		},
		CustomClaims: claims,
		Providers: func(_ string, via node.Transport) (map[string]node.Provider, error) {
			return provide(s.Emulator, via)
		},
		Public: api.Config{
			SiteConfig: httpapi.SiteConfig{Origins: s.Origins, InsecureDevelopment: true},
			Browser: browser.Config{
				Cookie: httpapi.Cookie{Insecure: true},
				Demo:   browser.Demo{Services: s.Services, Thief: s.Thief, Docs: docs.Files},
			},
		},
		Logger: logger,
	}, nil
}

// selfDescribed is the policy of clients that describe themselves.
func selfDescribed() broker.ClientPolicy {
	return broker.ClientPolicy{Scopes: selfDescribedScopes(), Audiences: []string{Audience, MCPAudience}, RefreshTokens: true}
}

// selfDescribedScopes are the scopes that clients which describe themselves may have.
func selfDescribedScopes() []string {
	return []string{"openid", "profile", "email", "offline_access", Scope}
}

// clients returns the clients of the development server.
func clients() []broker.Client {
	scopes := []string{"openid", "profile", "email", "phone", "address", "groups", "offline_access", Scope}
	code := []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken}
	audience, standard := []string{Audience}, []string{Scope}
	return []broker.Client{
		{ID: BrowserClient, Scopes: standard},
		{
			ID: NativeClient, Name: "Demo app", Scopes: scopes, DefaultScopes: standard, Audiences: audience, Grants: code,
			RedirectURIs: []string{"http://127.0.0.1/callback", "http://localhost/callback", "http://[::1]/callback"},
		},
		{
			ID: WebClient, Name: "Demo website", Secret: WebSecret, Scopes: scopes, DefaultScopes: standard, Audiences: audience, Grants: code,
			RedirectURIs: []string{"http://127.0.0.1:8084/callback"}, PostLogoutURIs: []string{"http://127.0.0.1:8084/"},
		},
		{
			ID: ServiceClient, Name: "Demo service", Secret: ServiceSecret, Scopes: standard, DefaultScopes: standard, Audiences: audience,
			Grants: []string{broker.GrantClientCredentials, broker.GrantTokenExchange},
		},
	}
}

// writeJSON replaces a file by v as JSON, with mode 0600, whole or not at all.
func writeJSON(path string, v any) error {
	body, err := json.Marshal(v)
	if err == nil {
		err = private.WriteFile(path, true, func(f *os.File) error {
			_, err := f.Write(append(body, '\n'))
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	return nil
}

// readJSON reads a file that writeJSON has written. The error wraps fs.ErrNotExist if there is none.
func readJSON(path string, v any) error {
	body, err := private.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
