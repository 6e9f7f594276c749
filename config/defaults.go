package config

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker/customclaims"
	"tokenbroker/broker/session"
	"tokenbroker/keyring"
)

// The addresses that the listeners have unless another one is configured.
const (
	DefaultListen      = "127.0.0.1:8080"
	DefaultAdminListen = "127.0.0.1:8081"
	DefaultNATSListen  = "127.0.0.1:4222"
)

// defaults returns the configuration if nothing is set. Each default comes from the package that owns the
// setting.
func defaults() Config {
	policy, claims := session.DefaultPolicy, customclaims.DefaultConfig()
	return Config{
		Store: Store{
			Engine: EngineBadger, Etcd: Etcd{Prefix: defaultEtcdPrefix},
			Postgres: Postgres{Schema: defaultPostgresSchema, Durability: DurabilitySynchronous, MaxConnections: defaultPostgresConnections, Notify: true},
		},
		Listen: DefaultListen,
		Cookie: Cookie{Name: httpapi.DefaultCookieName},
		Lifetimes: Lifetimes{
			AccessToken: Duration(policy.AccessLife), SessionIdle: Duration(policy.Idle), SessionAbsolute: Duration(policy.Absolute),
			RefreshGrace: Duration(policy.Grace), JWKSCache: Duration(keyring.DefaultJWKSMaxAge),
		},
		Sessions:   Sessions{MaxPerUser: policy.MaxSessions},
		Tokens:     Tokens{Algorithm: string(keyring.DefaultAlgorithm)},
		Claims:     Claims{Roles: claims.Roles, Groups: claims.Groups},
		UserObject: claims.UserObject,
		OAuth: OAuth{
			ScopesSupported: []string{"openid", "profile", "email", "offline_access"},
			CIMD:            CIMD{ClientPolicy: ClientPolicy{RefreshTokens: true}},
			Registration:    Registration{PerMinute: 10, MaxClients: 1000, UnusedAfter: Duration(30 * 24 * time.Hour), ClientPolicy: ClientPolicy{RefreshTokens: true}},
		},
		NATS:    NATS{Listen: DefaultNATSListen},
		Admin:   Admin{Listen: DefaultAdminListen, Hosts: admin.DefaultHosts()},
		Keyring: Keyring{RotateEvery: Duration(keyring.DefaultRotateEvery)},
		Log:     Log{Level: strings.ToLower(slog.LevelInfo.String()), Format: "text", Audit: true},
	}
}

// derive sets the defaults that depend on other values.
func (l *Loaded) derive() {
	cfg := l.Config
	https := strings.HasPrefix(cfg.PublicURL, "https:")
	if cfg.Cookie.Secure == nil {
		cfg.Cookie.Secure = &https
	}
	if !l.given("cookie.path") {
		cfg.Cookie.Path = httpapi.DefaultCookiePath(!https)
	}
	if cfg.Store.Shared() && !l.given("store.broker_name") {
		cfg.Store.BrokerName, _ = os.Hostname() // the check refuses an empty one
	}
	if cfg.NATS.URL != "" && !l.given("nats.listen") {
		cfg.NATS.Listen = ""
	}
}
