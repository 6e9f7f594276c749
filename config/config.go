// Package config is the configuration of `tokenbroker serve`: one struct, read from
// defaults, a file, the environment and flags, in that order, and checked as a whole.
//
// [Load] is what serve, `config check` and the operators' commands call; it returns the
// effective values with the source of each, or [Problems]: everything that is wrong at
// once. [Init] writes a file to start from, [Reference] lists every key, and [Changes] returns
// what a reload can apply. The package opens no port and no store.
package config

import "tokenbroker/internal/setting"

type (
	// Duration is a [time.Duration] that is written with a unit, such as 90s, 5m, 36h or 14d.
	Duration = setting.Duration
	// Problem is one thing that is wrong with the configuration.
	Problem = setting.Problem
	// Problems is everything that is wrong with the configuration. It is the error of [Load].
	Problems = setting.Problems
)

// Config is the whole configuration. The yaml keys, joined by dots, are the key paths of
// problems, of `config print` and of the environment (lifetimes.access_token is
// TOKENBROKER_LIFETIMES_ACCESS_TOKEN). A [Secret] named x can also be set by x_file.
//
// The tags doc say what the keys mean, for the reference; they are in a table, so they have no pipes.
// The defaults are those of [defaults].
type Config struct {
	PublicURL      string              `yaml:"public_url" doc:"Required. The issuer: the broker's own URL as browsers and services reach it, without a path; https, or http on loopback."`
	DataDir        string              `yaml:"data_dir" doc:"Required. Directory of the store (with store.engine badger), of the operators' socket and of the secrets that the broker makes itself."`
	Store          Store               `yaml:"store"`
	Listen         string              `yaml:"listen" doc:"Address of the public listener, host:port."`
	TLS            TLS                 `yaml:"tls"`
	TrustedProxies []string            `yaml:"trusted_proxies" doc:"Addresses or CIDRs of the proxies whose X-Forwarded-For and X-Request-Id are believed."`
	Connections    Connections         `yaml:"connections"`
	Origins        []string            `yaml:"origins" doc:"Origins of the SPAs, each on the same site as public_url. The broker's own is always allowed."`
	Cookie         Cookie              `yaml:"cookie"`
	Lifetimes      Lifetimes           `yaml:"lifetimes"`
	Sessions       Sessions            `yaml:"sessions"`
	Tokens         Tokens              `yaml:"tokens"`
	Browser        Browser             `yaml:"browser"`
	Clients        map[string]Client   `yaml:"clients"`
	OAuth          OAuth               `yaml:"oauth"`
	Pages          Pages               `yaml:"pages"`
	Providers      map[string]Provider `yaml:"providers"`
	Claims         Claims              `yaml:"claims"`
	UserObject     []string            `yaml:"user_object" doc:"What the answers' user shows: id, username, local, roles, groups or names of attributes. Empty: no user object."`
	NATS           NATS                `yaml:"nats"`
	Admin          Admin               `yaml:"admin"`
	Keyring        Keyring             `yaml:"keyring"`
	Log            Log                 `yaml:"log"`
}

// Store selects the engine that keeps the records.
type Store struct {
	Engine string `yaml:"engine" doc:"What keeps the records: badger, below data_dir, for one broker; or etcd or postgres (experimental), which several brokers share."`
	// BrokerName is the host name unless it is set. Without a shared engine it is empty.
	BrokerName string   `yaml:"broker_name" doc:"etcd, postgres: name of this broker, which no other broker of the cluster has, and which stays the same over restarts; default: the host name."`
	Etcd       Etcd     `yaml:"etcd"`
	Postgres   Postgres `yaml:"postgres"`
}

// Etcd configures the connections to the members of an etcd cluster.
type Etcd struct {
	Endpoints       []string `yaml:"endpoints" doc:"etcd: client URLs of the members, https, or http where the network is trusted, as https://etcd-1:2379."`
	Prefix          string   `yaml:"prefix" doc:"etcd: beginning of all keys, 1 to 127 letters, digits and characters of ._- and a slash. The brokers of one issuer have the same one."`
	CAFile          string   `yaml:"ca_file" doc:"etcd: PEM file of the authorities that the members' certificates are checked by; default: the system's."`
	CertificateFile string   `yaml:"certificate_file" doc:"etcd: PEM file of the broker's client certificate, read again for each connection."`
	KeyFile         string   `yaml:"key_file" doc:"etcd: PEM file of its private key."`
	Username        string   `yaml:"username" doc:"etcd: user, where the cluster has authentication enabled."`
	Password        Secret   `yaml:"password" doc:"etcd: password of username."`
}

// Postgres configures the connections to a PostgreSQL database.
type Postgres struct {
	URL            string `yaml:"url" doc:"postgres: user, servers, database and sslmode, as postgres://tokenbroker@db-1:5432,db-2:5432/tokenbroker?sslmode=verify-full; all servers of which one is the primary, or the address of the primary. Without a password. Further parameters: sslrootcert, sslcert, sslkey, sslsni, sslnegotiation, channel_binding, require_auth, application_name."`
	Password       Secret `yaml:"password" doc:"postgres: password of the user, if the server asks for one."`
	Schema         string `yaml:"schema" doc:"postgres: schema of the tables, which tokenbroker store init creates. The brokers of one issuer have the same one."`
	Durability     string `yaml:"durability" doc:"postgres: synchronous refuses a server without synchronous_standby_names. local accepts it: what was acknowledged is then lost with its disk, unless the storage is replicated, as at Amazon RDS Multi-AZ and Aurora."`
	MaxConnections int    `yaml:"max_connections" doc:"postgres: most connections of this broker to the server, 2 to 10000; a few more for notifications and for commits that are no longer waited for."`
	Notify         bool   `yaml:"notify" doc:"postgres: hear of other brokers' changes by LISTEN. false asks every 200 ms, as is needed behind a pooler in transaction mode."`
}

// TLS names the files of a certificate. Without them a proxy terminates TLS.
type TLS struct {
	CertFile string `yaml:"cert_file" doc:"PEM file of the certificate chain. Without it a proxy in front ends TLS."`
	KeyFile  string `yaml:"key_file" doc:"PEM file of the certificate's private key."`
}

// Connections bounds the public listener.
type Connections struct {
	Max        int `yaml:"max" doc:"Connections that the public listener may have; default: 16384, or what the limit of open files allows."`
	PerAddress int `yaml:"per_address" doc:"Connections that one address (IPv6: a /64; a /48 four times as many) may have at the public listener; trusted_proxies have no such limit. Default: 256, and none for loopback."`
}

// Cookie configures the refresh cookie.
type Cookie struct {
	Name string `yaml:"name" doc:"Name of the refresh cookie; with https the prefix __Host- is added, or __Secure- if path is /auth."`
	// Path is / if PublicURL is https and otherwise /auth, unless it is set.
	Path string `yaml:"path" doc:"Path of the refresh cookie, / or /auth; default: / with https, /auth with http. With https any host of the same domain can plant a cookie at /auth."`
	// Secure is whether PublicURL is https, unless it is set. [Load] never leaves it nil.
	Secure *bool `yaml:"secure" doc:"The cookie's Secure attribute; default: true with https. false is only for http on loopback."`
}

// Lifetimes configures how long tokens, sessions and copies of the public keys live (docs/design.md §5 and §6).
type Lifetimes struct {
	AccessToken     Duration `yaml:"access_token" doc:"Life of an access token, 1s to 1h."`
	SessionIdle     Duration `yaml:"session_idle" doc:"A session ends when it was not refreshed for this long."`
	SessionAbsolute Duration `yaml:"session_absolute" doc:"A session ends this long after the sign-in, even if it is in use."`
	RefreshGrace    Duration `yaml:"refresh_grace" doc:"A superseded refresh token is answered for this long (tabs, lost answers), 0s to 5m."`
	JWKSCache       Duration `yaml:"jwks_cache" doc:"How long services may keep the public keys, whole seconds."`
}

// Sessions bounds the sessions of users.
type Sessions struct {
	MaxPerUser int `yaml:"max_per_user" doc:"How many sessions a user may have at a time, 1 to 1000; with one more the oldest ends."`
}

// Tokens configures the audience and the signature of access tokens.
type Tokens struct {
	Algorithm string   `yaml:"algorithm" doc:"How access tokens are signed: ES256, EdDSA, RS256 or PS256."`
	Audience  []string `yaml:"audience" doc:"Required. The aud of access tokens: names of the services that accept them."`
}

// Browser configures the sessions of browsers: their client, their scopes and the pages that they are sent to.
type Browser struct {
	Client string   `yaml:"client" doc:"Required. The public client that browser sessions belong to."`
	Scopes []string `yaml:"scopes" doc:"Scopes granted to browser sessions."`
	// HomeURL and SignedOutURL are at the broker's own origin or at one of Origins.
	HomeURL      string `yaml:"home_url" doc:"URL where a login without return_to ends and where the broker's pages lead back to, of one of origins or the broker's own; default: the root of the first of origins, or without one of public_url."`
	SignedOutURL string `yaml:"signed_out_url" doc:"URL to which a provider's log-out sends the browser, of one of origins or the broker's own; register it with the provider. Default: public_url with a slash, a page that leads to home_url."`
}

// Client is an OAuth client. It is public, or it authenticates by a secret, by its keys or as a workload. The rules are those
// of [directory.ValidateClient].
type Client struct {
	Public             bool     `yaml:"public" doc:"The client cannot authenticate: a SPA or an app."`
	Secret             Secret   `yaml:"secret" doc:"Secret of a confidential client, 32 characters or more."`
	SecretHash         string   `yaml:"secret_hash" doc:"Instead of secret: its SHA-256 in hex, printf %s \"$SECRET\" , piped to sha256sum."`
	PreviousSecret     Secret   `yaml:"previous_secret" doc:"Secret before the latest change of secret, which is also accepted. Remove it when all instances of the client use the new one."`
	PreviousSecretHash string   `yaml:"previous_secret_hash" doc:"Instead of previous_secret: its SHA-256 in hex."`
	Name               string   `yaml:"name" doc:"Name of the client on the pages that users see; default: its id."`
	Scopes             []string `yaml:"scopes" doc:"Scopes that the client may ask for."`
	DefaultScopes      []string `yaml:"default_scopes" doc:"Scopes of a request that names none, all of them in scopes."`
	Audiences          []string `yaml:"audiences" doc:"The aud of the client's access tokens; default: tokens.audience."`
	Grants             []string `yaml:"grants" doc:"What the client may use at the token endpoint: authorization_code, refresh_token and, unless it is public, client_credentials and token_exchange. Empty: nothing, as for a SPA on the broker's own endpoints."`
	RedirectURIs       []string `yaml:"redirect_uris" doc:"URIs that users are sent back to with a code, compared exactly: https, http on 127.0.0.1, [::1] or localhost (without a port: any port), or a private scheme with a dot, as com.example.app:/callback."`
	PostLogoutURIs     []string `yaml:"post_logout_redirect_uris" doc:"URIs that users may be sent to after a log-out that the client started, with the same rules."`
	Origins            []string `yaml:"origins" doc:"Origins whose pages may call the token and userinfo endpoints as this client (CORS)."`
	FirstParty         bool     `yaml:"first_party" doc:"Users are not asked for their consent."`
	AccessToken        Duration `yaml:"access_token" doc:"Life of the client's access tokens, at most lifetimes.access_token, which is the default."`
	SessionIdle        Duration `yaml:"session_idle" doc:"As lifetimes.session_idle for the client's grants, at most that, which is the default."`
	SessionAbsolute    Duration `yaml:"session_absolute" doc:"As lifetimes.session_absolute for the client's grants, at most that, which is the default."`
	// RefreshGrace is nil unless it is set.
	RefreshGrace *Duration  `yaml:"refresh_grace" doc:"As lifetimes.refresh_grace for the client's grants, at most that, which is the default; 0s: a superseded refresh token is never answered."`
	JWKSFile     string     `yaml:"jwks_file" doc:"File with the public keys (a JWKS) by which the client authenticates (private_key_jwt)."`
	JWKSURI      string     `yaml:"jwks_uri" doc:"Instead of jwks_file: the URL of the JWKS, https, or http on loopback."`
	Workloads    []Workload `yaml:"workloads" doc:"Identities of other issuers that are the client, such as a Kubernetes service account or a CI job: a list of issuer, subject and audience, compared exactly, and jwks_uri unless the issuer has a discovery document."`
}

// Workload is an identity of another issuer. See [broker.Workload].
type Workload struct {
	Issuer   string `yaml:"issuer" json:"issuer"`
	Subject  string `yaml:"subject" json:"subject"`
	Audience string `yaml:"audience" json:"audience"`
	JWKSURI  string `yaml:"jwks_uri" json:"jwks_uri,omitempty"`
}

// OAuth configures what the clients of the authorization and token endpoints have in common.
type OAuth struct {
	Resources map[string]string `yaml:"resources" doc:"URI of the service with this audience, which clients send as resource (RFC 8707). The audience is one of tokens.audience or of a client's audiences."`
	Scopes    map[string]string `yaml:"scopes" doc:"What the consent page says about this scope, such as: read your greetings."`
	// ScopesSupported are the scopes that discovery names.
	ScopesSupported []string     `yaml:"scopes_supported" doc:"Scopes that the discovery documents name. Keep it short: some clients request each of them."`
	CIMD            CIMD         `yaml:"cimd"`
	Registration    Registration `yaml:"registration"`
}

// CIMD configures clients whose id is the URL of their Client ID Metadata Document.
type CIMD struct {
	Enabled          bool     `yaml:"enabled" doc:"Accept clients whose client_id is the URL of a Client ID Metadata Document, which the broker fetches."`
	InsecureLoopback bool     `yaml:"insecure_loopback" doc:"Also fetch documents from http and from https on a loopback address. For development: refused unless public_url is on loopback too."`
	Hosts            []string `yaml:"hosts" doc:"Hosts whose documents are accepted, without port, as app.example.com; default: all."`
	ClientPolicy
}

// Registration configures clients that register themselves (RFC 7591).
type Registration struct {
	Enabled            bool     `yaml:"enabled" doc:"Let clients register themselves (RFC 7591)."`
	InitialAccessToken Secret   `yaml:"initial_access_token" doc:"Bearer token that a registration needs, 32 characters or more; default: none is needed."`
	PerMinute          int      `yaml:"per_minute" doc:"Registrations a minute from one address (IPv6: a /64), 1 to 10000; beyond it the answer is 429."`
	MaxClients         int      `yaml:"max_clients" doc:"Most clients that registered themselves at a time, 1 to 10000."`
	UnusedAfter        Duration `yaml:"unused_after" doc:"A client that registered itself is removed when it was not used for this long, 1h to 8760h."`
	ClientPolicy
}

// ClientPolicy is what clients that describe themselves may have. Its keys are those of the group that embeds it.
type ClientPolicy struct {
	Scopes          []string `yaml:"scopes" doc:"Scopes that such clients may have; required if enabled."`
	Audiences       []string `yaml:"audiences" doc:"The aud of such clients' access tokens; default: tokens.audience."`
	RefreshTokens   bool     `yaml:"refresh_tokens" doc:"Give such clients refresh tokens if they ask for that grant."`
	AccessToken     Duration `yaml:"access_token" doc:"Life of such clients' access tokens, at most lifetimes.access_token, which is the default."`
	SessionIdle     Duration `yaml:"session_idle" doc:"As lifetimes.session_idle for such clients' grants, at most that, which is the default."`
	SessionAbsolute Duration `yaml:"session_absolute" doc:"As lifetimes.session_absolute for such clients' grants, at most that, which is the default."`
	// RefreshGrace is nil unless it is set.
	RefreshGrace *Duration `yaml:"refresh_grace" doc:"As lifetimes.refresh_grace for such clients' grants, at most that, which is the default."`
}

// Pages configures the pages that users see.
type Pages struct {
	Dir string `yaml:"dir" doc:"Directory whose files replace the name, colours, logo and texts of the sign-in and consent pages; default: none."`
}

// Provider is an upstream identity provider. Kind cognito needs Region and UserPool, and Domain, the
// URL of the hosted UI, for its log-out. Kind oidc needs Issuer.
type Provider struct {
	Kind                   string   `yaml:"kind" doc:"cognito, or oidc for any OpenID Connect issuer."`
	Region                 string   `yaml:"region" doc:"cognito: the AWS region, as us-east-1; it may be that of a replica of the user pool."`
	UserPool               string   `yaml:"user_pool" doc:"cognito: the user pool's id, as us-east-1_abc123DEF."`
	Domain                 string   `yaml:"domain" doc:"cognito: URL of the hosted UI, for its log-out."`
	Issuer                 string   `yaml:"issuer" doc:"oidc: the issuer's URL, https, or http on loopback. cognito: the one of the pool's issuers that is asked first; all of them are accepted. Default: the original one of region."`
	ClientID               string   `yaml:"client_id" doc:"The broker's client id at the provider."`
	ClientSecret           Secret   `yaml:"client_secret" doc:"The broker's client secret at the provider, if it has one."`
	InsecureDevEndpoint    string   `yaml:"insecure_dev_endpoint" doc:"cognito: http://HOST:PORT of an emulator on loopback, such as that of tokenbroker idp, that replaces AWS, domain and issuer. For development: refused unless public_url is on loopback too. Default: AWS."`
	AllowedClientIDs       []string `yaml:"allowed_client_ids" doc:"Further client ids whose tokens may be exchanged for a session."`
	EndpointHosts          []string `yaml:"endpoint_hosts" doc:"Hosts of the provider's endpoints that may have a private or loopback address while the issuer has a public one."`
	Scopes                 []string `yaml:"scopes" doc:"Scopes asked for at the provider; default: openid, email, profile."`
	Algorithms             []string `yaml:"algorithms" doc:"oidc: algorithms that id tokens may be signed with, of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA. Default: RS256, PS256, ES256, EdDSA, and what the discovery document advertises of the others. cognito: RS256 only."`
	Exchange               *bool    `yaml:"exchange" doc:"Exchange tokens that a SPA got from the provider itself for a session; default: true for cognito, false for oidc."`
	MaxTokenAge            Duration `yaml:"max_token_age" doc:"How old an id token may be that is exchanged for a session; default: 10m."`
	SkipEmailVerifiedCheck bool     `yaml:"skip_email_verified_check" doc:"Let users in whose e-mail address the provider has not verified."`
}

// Claims configures the claims of access tokens in addition to the standard ones.
type Claims struct {
	Attributes []string          `yaml:"attributes" doc:"Attributes of the user that are copied into access tokens."`
	Computed   map[string]string `yaml:"computed" doc:"Claim computed by a CEL expression over user, identity, client and session."`
	Roles      bool              `yaml:"roles" doc:"Add the claim roles where the user has any."`
	Groups     bool              `yaml:"groups" doc:"Add the claim groups where the user has any."`
}

// NATS configures an embedded NATS server at Listen, or the connection to the server at URL.
type NATS struct {
	URL             string `yaml:"url" doc:"NATS elsewhere: nats://host:4222, tls:// or a comma separated list. Without it a server is embedded."`
	User            string `yaml:"user" doc:"User at url."`
	Password        Secret `yaml:"password" doc:"Password at url."`
	CredentialsFile string `yaml:"credentials_file" doc:"Credentials file (JWT and seed) for url, instead of user and password."`
	CAFile          string `yaml:"ca_file" doc:"PEM file of the authorities that url's certificate is checked by; default: the system's."`
	// Listen and the fields below it are for the embedded server. With URL, [Load] leaves Listen empty unless it is set.
	Listen          string                 `yaml:"listen" doc:"Address of the embedded server, host:port; unused with url."`
	ServiceUser     string                 `yaml:"service_user" doc:"User that services share at the embedded server; without it and services, the user services with the password in the file nats-services in data_dir, made at the first start. Off loopback one of both is required."`
	ServicePassword Secret                 `yaml:"service_password" doc:"Its password, 16 characters or more."`
	Services        map[string]NATSService `yaml:"services"`
	TLSCertFile     string                 `yaml:"tls_cert_file" doc:"PEM file of the embedded server's certificate; required off loopback."`
	TLSKeyFile      string                 `yaml:"tls_key_file" doc:"PEM file of its private key."`
}

// NATSService is a service. Its id is the name of its user at the embedded server. With URL, whose server
// has its own users, the entry only makes the service known.
type NATSService struct {
	Password Secret `yaml:"password" doc:"Password of the service of that id, which is its user at the embedded server, 16 characters or more; none with url. It may send receipts only as itself."`
}

// Admin configures the operators' surface: a unix socket, and unless Listen is empty a TCP listener.
type Admin struct {
	Socket string `yaml:"socket" doc:"Path of the operators' unix socket; default: admin/admin.sock in data_dir."`
	Listen string `yaml:"listen" doc:"Address of the operators' TCP listener; empty: only the socket."`
	Token  Secret `yaml:"token" doc:"Bearer token of the TCP listener, 32 characters or more; default: made at the first start, in data_dir."`
	// TLSCertFile and TLSKeyFile make the TCP listener speak TLS.
	TLSCertFile string `yaml:"tls_cert_file" doc:"PEM file of the TCP listener's certificate; required off loopback."`
	TLSKeyFile  string `yaml:"tls_key_file" doc:"PEM file of its private key."`
	// MetricsToken is for a scraper, which needs no other right of an operator.
	MetricsToken Secret   `yaml:"metrics_token" doc:"Bearer token that opens GET /metrics of the TCP listener and nothing else, 32 characters or more; default: none."`
	Hosts        []string `yaml:"hosts" doc:"Host names that the TCP listener answers to."`
}

// Keyring configures how private keys are sealed and rotated.
type Keyring struct {
	KEK         Secret   `yaml:"kek" doc:"Key that seals the private keys, 32 bytes in base64; default: the file kek in data_dir, made at the first start. Required with etcd and postgres, the same for all brokers."`
	RotateEvery Duration `yaml:"rotate_every" doc:"How often the signing keys are rotated, within a few percent; 0s: only manually."`
}

// Log configures the log.
type Log struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error."`
	Format string `yaml:"format" doc:"text or json."`
	Audit  bool   `yaml:"audit" doc:"Write the audit lines at every level."`
}
