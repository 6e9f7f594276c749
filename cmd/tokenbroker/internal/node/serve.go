package node

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tokenbroker/api"
	"tokenbroker/keyring"
	"tokenbroker/validator"
)

// serve opens the public and the operators' surface: from here on everything answers.
func (n *Node) serve(context.Context) error {
	own, err := validator.NewInProcess(validator.InProcessConfig{
		Issuer: n.issuer, Audiences: n.cfg.Audience, Keys: n.keys.Verifier,
		Denylist: n.deny, Now: n.ledger.Now, MaxLifetime: n.cfg.Policy.AccessLife,
	})
	if err != nil {
		return err
	}
	var logins api.Logins // nil without providers: none of their paths is there
	if len(n.providers) > 0 {
		logins = n.metrics.Logins(n.broker)
	}
	n.api, err = api.New(api.Config{
		Logins: logins,
		Issuer: n.issuer, Origins: n.cfg.Origins, TrustedProxies: n.cfg.TrustedProxies, DemoSample: n.cfg.DemoSample,
		CookieName: n.cfg.CookieName, CookiePath: n.cfg.CookiePath, InsecureCookies: n.cfg.InsecureCookies,
		Algorithms:       n.algorithms(),
		MaxTokenLifetime: n.cfg.Policy.AccessLife,
		Sessions:         n.metrics.Sessions(n.broker), Clients: n.broker, Verifier: verifier{own}, Catchup: catchup{n.ledger},
		JWKS: document(n.keys.JWKS), FeedJWKS: document(n.keys.FeedJWKS),
		Readiness: n.readiness, Logger: n.cfg.Logger, Observe: n.metrics.HTTP,
	})
	if err != nil {
		return err
	}
	n.gauges()
	n.public.serve(n.api, n.cfg.Certificate, nil)
	n.onStop(n.public.shutdown)
	return n.serveAdmin()
}

// serveAdmin opens the operators' surface.
func (n *Node) serveAdmin() error {
	token := n.cfg.Admin.Token
	if token == "" && n.admin != nil {
		var err error
		if token, err = adminToken(filepath.Join(n.cfg.DataDir, AdminTokenFile)); err != nil {
			return err
		}
	}
	handler := api.NewAdmin(api.AdminConfig{Metrics: n.metrics.Handler(), Token: token, Hosts: n.cfg.Admin.Hosts, Logger: n.cfg.Logger})
	if n.admin != nil {
		n.admin.serve(handler, nil, nil)
		n.onStop(n.admin.shutdown)
	}
	return nil
}

// algorithms are those of the published access keys.
func (n *Node) algorithms() []string {
	var algorithms []string
	for _, k := range n.keys.List() {
		if name := string(k.Algorithm); k.Purpose == keyring.PurposeAccess && !slices.Contains(algorithms, name) {
			algorithms = append(algorithms, name)
		}
	}
	return algorithms
}

// readiness is ready when store and keyring are; without NATS the broker is degraded.
func (n *Node) readiness(ctx context.Context) []api.Check {
	writable := n.store.Writable()
	connected := n.bus.Connected()
	checks := []api.Check{
		{Name: "store", OK: writable == nil},
		{Name: "keyring", OK: true},
		{Name: "nats", OK: true, Degraded: !connected},
	}
	for _, name := range n.broker.Providers() {
		check := api.Check{Name: "provider " + name, OK: true, Degraded: !n.providers[name].Ready(ctx)}
		if check.Degraded {
			check.Detail = "does not answer; password sign-in goes on"
		}
		checks = append(checks, check)
	}
	if writable != nil {
		checks[0].Detail = "writes are refused"
	}
	if !connected {
		checks[2].Detail = "revocations are recorded and reach services by catch-up"
	}
	return checks
}

// AdminTokenFile holds the operators' bearer token, in the data directory.
const AdminTokenFile = "admin-token"

// adminToken reads the operators' bearer token, or makes it (mode 0600).
func adminToken(path string) (string, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the directory
	if err == nil {
		token := strings.TrimSpace(string(text))
		if len(token) < 32 {
			return "", fmt.Errorf("the admin token in %s is too short: remove the file to get a new one", path)
		}
		return token, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("reading the admin token: %w", err)
	}
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	token := base64.RawURLEncoding.EncodeToString(b[:])
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("writing the admin token: %w", err)
	}
	return token, nil
}
