// Package config is the configuration of `tokenbroker serve`: one struct, read from
// defaults, a file, the environment and flags, in that order, and checked as a whole.
//
// [Load] is what serve, `config check` and the operators' commands call; it returns the
// effective values with the source of each, or [Problems]: everything that is wrong at
// once. Nothing in here opens a port or a store.
package config

import "time"

// Config is the whole configuration. The yaml keys, joined by dots, are the key paths of
// problems, of `config print` and of the environment (lifetimes.access_token is
// TOKENBROKER_LIFETIMES_ACCESS_TOKEN). A [Secret] named x can be given as x_file, too.
type Config struct {
	// PublicURL is the issuer: the broker's own URL as browsers and services reach it.
	PublicURL string `yaml:"public_url"`
	// DataDir holds the store and, unless keyring.kek is given, the key encryption key.
	DataDir string `yaml:"data_dir"`
	Listen  string `yaml:"listen"`
	TLS     TLS    `yaml:"tls"`
	// TrustedProxies are the addresses or CIDRs whose X-Forwarded-For is believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// Origins are those of the SPAs; each same-site with PublicURL.
	Origins   []string            `yaml:"origins"`
	Cookie    Cookie              `yaml:"cookie"`
	Lifetimes Lifetimes           `yaml:"lifetimes"`
	Tokens    Tokens              `yaml:"tokens"`
	Browser   Browser             `yaml:"browser"`
	Clients   map[string]Client   `yaml:"clients"`
	Providers map[string]Provider `yaml:"providers"`
	Claims    Claims              `yaml:"claims"`
	// UserObject names what the answers' user shows: id, username, roles, groups, or the
	// name of an attribute. Empty: no user object.
	UserObject []string `yaml:"user_object"`
	NATS       NATS     `yaml:"nats"`
	Admin      Admin    `yaml:"admin"`
	Keyring    Keyring  `yaml:"keyring"`
	Log        Log      `yaml:"log"`
}

// TLS names the files of a certificate; without them a proxy in front ends TLS.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Cookie is the refresh cookie.
type Cookie struct {
	Name string `yaml:"name"`
	Path string `yaml:"path"`
	// Secure is nil by default: on where PublicURL is https. false is for plain http on loopback alone.
	Secure *bool `yaml:"secure"`
}

// Lifetimes are those of docs/design.md §5 and §6.
type Lifetimes struct {
	AccessToken     Duration `yaml:"access_token"`
	SessionIdle     Duration `yaml:"session_idle"`
	SessionAbsolute Duration `yaml:"session_absolute"`
	RefreshGrace    Duration `yaml:"refresh_grace"`
	JWKSCache       Duration `yaml:"jwks_cache"`
}

// Tokens is what access tokens say and how they are signed.
type Tokens struct {
	Algorithm string   `yaml:"algorithm"` // ES256, EdDSA, RS256, PS256
	Audience  []string `yaml:"audience"`
}

// Browser is the client that browser sessions belong to, and what they are granted.
type Browser struct {
	Client string   `yaml:"client"`
	Scopes []string `yaml:"scopes"`
}

// Client is public, or has a secret or its hash (hex SHA-256 of the secret's text).
type Client struct {
	Public     bool     `yaml:"public"`
	Secret     Secret   `yaml:"secret"`
	SecretHash string   `yaml:"secret_hash"`
	Scopes     []string `yaml:"scopes"`
}

// Provider is an upstream identity provider. Kind cognito takes Region and UserPool (and
// Domain, the hosted UI's URL, for its log-out), kind oidc takes Issuer.
type Provider struct {
	Kind                   string   `yaml:"kind"`
	Region                 string   `yaml:"region"`
	UserPool               string   `yaml:"user_pool"`
	Domain                 string   `yaml:"domain"`
	Issuer                 string   `yaml:"issuer"`
	ClientID               string   `yaml:"client_id"`
	ClientSecret           Secret   `yaml:"client_secret"`
	AllowedClientIDs       []string `yaml:"allowed_client_ids"`
	Scopes                 []string `yaml:"scopes"`
	MaxTokenAge            Duration `yaml:"max_token_age"`
	SkipEmailVerifiedCheck bool     `yaml:"skip_email_verified_check"`
}

// Claims are those of access tokens beside the standard ones.
type Claims struct {
	// Attributes of the user to copy.
	Attributes []string `yaml:"attributes"`
	// Computed: name to CEL expression.
	Computed map[string]string `yaml:"computed"`
	// Roles and Groups add the claims of that name where the user has any.
	Roles  bool `yaml:"roles"`
	Groups bool `yaml:"groups"`
}

// NATS is an embedded server at Listen, or one elsewhere by URL.
type NATS struct {
	URL             string `yaml:"url"`
	User            string `yaml:"user"`
	Password        Secret `yaml:"password"`
	CredentialsFile string `yaml:"credentials_file"`
	CAFile          string `yaml:"ca_file"`
	// Listen, ServiceUser, ServicePassword, TLSCertFile and TLSKeyFile are of the embedded
	// server: services subscribe with them. Off loopback they are required.
	Listen          string `yaml:"listen"`
	ServiceUser     string `yaml:"service_user"`
	ServicePassword Secret `yaml:"service_password"`
	TLSCertFile     string `yaml:"tls_cert_file"`
	TLSKeyFile      string `yaml:"tls_key_file"`
}

// Admin is the operators' surface: a unix socket, always, and a TCP listener.
type Admin struct {
	// Socket is the path of the unix socket; empty: admin/admin.sock in DataDir.
	Socket string `yaml:"socket"`
	// Listen is the TCP address; empty: the socket alone.
	Listen string `yaml:"listen"`
	// Token is the bearer token of the TCP listener; empty: made at the first start, in DataDir.
	Token Secret   `yaml:"token"`
	Hosts []string `yaml:"hosts"`
}

// Keyring seals the private keys.
type Keyring struct {
	// KEK is 32 bytes in base64; empty: the file kek in DataDir, made at the first start.
	KEK Secret `yaml:"kek"`
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn, error
	Format string `yaml:"format"` // text, json
}

// Duration is a time.Duration written with a unit: 90s, 5m, 36h, 14d (or 1d12h).
type Duration time.Duration

// Secret shows itself nowhere as text; Reveal gives it.
type Secret struct{ text string }

// Reveal returns the secret.
func (s Secret) Reveal() string { return s.text }

// NewSecret makes a Secret of text.
func NewSecret(text string) Secret { return Secret{text} }
