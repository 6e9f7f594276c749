// Package setup turns a configuration into the settings of a node. Both `serve` and `config check` call [Build], so
// that `config check` refuses what `serve` would refuse.
package setup

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"path/filepath"
	"strings"

	"tokenbroker/api"
	"tokenbroker/api/browser"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/look"
	"tokenbroker/broker/customclaims"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/config"
	"tokenbroker/internal/private"
	"tokenbroker/keyring"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store/etcdstore"
	"tokenbroker/store/pgstore"
)

// Built is the result of [Build].
type Built struct {
	// Node has no Logger, Audit, Fatal and Version, which the caller sets.
	Node node.Config
	// Etcd or Postgres configures the store that several brokers share. Both are nil if there is none. The caller opens it
	// with [Built.OpenEngine] and sets Node.Engine.
	Etcd     *etcdstore.Config
	Postgres *pgstore.Config
	// Certificate is the public listener's, AdminCertificate the operators' and NATSCertificate
	// the embedded NATS server's, or nil. Each can be replaced while it is in use.
	Certificate, AdminCertificate, NATSCertificate *Certificate
}

// Build makes everything that can be made without opening a port or a store, or returns all problems. [config.Load]
// has accepted cfg.
func Build(ctx context.Context, cfg *config.Config) (*Built, config.Problems) {
	var problems config.Problems
	claims, claimProblems := Claims(ctx, cfg)
	problems = append(problems, claimProblems...)
	providers, providerProblems := providers(cfg)
	problems = append(problems, providerProblems...)
	note := func(key string, err error) {
		if err != nil {
			problems = append(problems, config.Problem{Key: key, Message: err.Error()})
		}
	}
	certificate, err := loadCertificate(cfg.TLS.CertFile, cfg.TLS.KeyFile, publicHost(cfg.PublicURL))
	note("tls.cert_file", err)
	adminCertificate, err := loadCertificate(cfg.Admin.TLSCertFile, cfg.Admin.TLSKeyFile, "")
	note("admin.tls_cert_file", err)
	nats, natsCertificate := natsOf(cfg.NATS, note)
	etcd, postgres := etcdOf(cfg.Store, note), Postgres(cfg.Store)
	note("store.postgres.url", checkPostgres(postgres))
	clients, clientProblems := cfg.ClientList()
	problems = append(problems, clientProblems...)
	pages, err := look.Load(cfg.Pages.Dir)
	note("pages.dir", err)
	var kek keyring.KEK
	if text := cfg.Keyring.KEK.Reveal(); text != "" {
		kek, err = keyring.ParseKEK([]byte(text))
		note("keyring.kek", err)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	built := &Built{Certificate: certificate, AdminCertificate: adminCertificate, NATSCertificate: natsCertificate, Etcd: etcd, Postgres: postgres, Node: node.Config{
		DataDir: cfg.DataDir, Name: cfg.Store.BrokerName, KEK: kek,
		Listen: cfg.Listen, PublicURL: strings.TrimSuffix(cfg.PublicURL, "/"),
		Connections: httpserver.Connections{Max: cfg.Connections.Max, PerAddress: cfg.Connections.PerAddress},
		Public: api.Config{
			SiteConfig: httpapi.SiteConfig{Origins: cfg.Origins, Look: pages}, TrustedProxies: cfg.TrustedProxies,
			Browser: browser.Config{HomeURL: cfg.Browser.HomeURL, Cookie: cfg.RefreshCookie()},
		},
		NATS:     nats,
		Admin:    node.Admin{Socket: cfg.Admin.Socket, Listen: cfg.Admin.Listen, Token: cfg.Admin.Token.Reveal(), MetricsToken: cfg.Admin.MetricsToken.Reveal(), Hosts: cfg.Admin.Hosts},
		Audience: cfg.Tokens.Audience, Schedule: cfg.Schedule(), Policy: cfg.Policy(),
		BrowserClient: cfg.Browser.Client, BrowserScope: strings.Join(cfg.Browser.Scopes, " "),
		SignedOutURL: cfg.Browser.SignedOutURL,
		Clients:      clients, CustomClaims: claims, Providers: providers,
		Resources: cfg.OAuth.Resources, ScopeTexts: cfg.OAuth.Scopes, ScopesSupported: cfg.OAuth.ScopesSupported,
		Documents: documentsOf(cfg.OAuth.CIMD), Registration: registrationOf(cfg.OAuth.Registration),
		Setting: func(key string) string { return key + " in the configuration" },
	}}
	if certificate != nil {
		built.Node.Certificate = certificate.Get
	}
	if adminCertificate != nil {
		built.Node.Admin.Certificate = adminCertificate.Get
	}
	return built, nil
}

// documentsOf returns the settings of clients with metadata documents.
func documentsOf(c config.CIMD) node.Documents {
	return node.Documents{Enabled: c.Enabled, Hosts: c.Hosts, InsecureLoopback: c.InsecureLoopback, Policy: c.Policy()}
}

// registrationOf returns the settings of clients that register themselves.
func registrationOf(r config.Registration) node.Registration {
	return node.Registration{
		Enabled: r.Enabled, InitialToken: r.InitialAccessToken.Reveal(), PerMinute: r.PerMinute, MaxClients: r.MaxClients,
		UnusedAfter: r.UnusedAfter.Std(), Policy: r.Policy(),
	}
}

// CheckDirectories returns the problems of the directories that a node creates: a path that exists and
// is not a directory, or a directory that other users can access.
func CheckDirectories(cfg *config.Config) config.Problems {
	var problems config.Problems
	if err := private.CheckDir(cfg.DataDir, "data directory", "data_dir"); err != nil {
		problems.Add("data_dir", err.Error(), "")
	}
	if cfg.Admin.Socket != "" {
		if err := private.CheckDir(filepath.Dir(cfg.Admin.Socket), "admin socket's directory", "admin.socket"); err != nil {
			problems.Add("admin.socket", err.Error(), "")
		}
	}
	return problems
}

// publicHost returns the host for which the public listener's certificate has to be valid.
func publicHost(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return "" // package config has refused it
	}
	return u.Hostname()
}

// Claims compiles the configured claims and runs them against a sample user.
func Claims(ctx context.Context, cfg *config.Config) (*customclaims.Set, config.Problems) {
	set, err := customclaims.New(customclaims.Config{
		Attributes: cfg.Claims.Attributes, Computed: cfg.Claims.Computed,
		Roles: cfg.Claims.Roles, Groups: cfg.Claims.Groups, UserObject: cfg.UserObject,
	})
	if err == nil {
		err = set.Try(ctx)
	}
	if err == nil {
		return set, nil
	}
	var problems config.Problems
	if !errors.As(err, &problems) {
		problems.Add("claims", err.Error(), "")
	}
	return nil, problems
}

// natsOf returns the settings of the NATS server, with the files that they name read, and the
// certificate of the embedded server, or nil. note is called with each key that is wrong and its error.
func natsOf(cfg config.NATS, note func(key string, err error)) (node.NATS, *Certificate) {
	n := node.NATS{
		URL: cfg.URL, User: cfg.User, Password: cfg.Password.Reveal(), Credentials: cfg.CredentialsFile,
		Listen: cfg.Listen, ServiceUser: cfg.ServiceUser, ServicePassword: cfg.ServicePassword.Reveal(), Services: map[string]string{},
	}
	for id, service := range cfg.Services {
		n.Services[id] = service.Password.Reveal()
	}
	if cfg.URL != "" {
		n.Listen = ""
	}
	if cfg.CredentialsFile != "" {
		note("nats.credentials_file", natsfeed.CheckCredentials(cfg.CredentialsFile))
	}
	authorities, err := cfg.Authorities()
	note("nats.ca_file", err)
	if authorities != nil {
		n.TLS = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	}
	certificate, err := loadCertificate(cfg.TLSCertFile, cfg.TLSKeyFile, "")
	note("nats.tls_cert_file", err)
	if certificate != nil {
		n.ServerTLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate.Get}
	}
	return n, certificate
}
