// Package registration implements the use cases of OAuth clients that register themselves: the registration (RFC 7591), and the reading
// and the end of one by its registration access token (RFC 7592).
//
// Registered clients are records of the family client, like those of operators. One that is not used expires in the store.
package registration

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"time"

	"golang.org/x/sync/semaphore"

	"tokenbroker/broker"
	"tokenbroker/broker/clientmetadata"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/store"
)

// Config wires a [Service]. Everything without a stated default is required.
type Config struct {
	Path  *commit.Path
	Store store.Reader // the path's
	Clock broker.Clock
	// Policy is what registered clients may have.
	Policy broker.ClientPolicy
	// Limits has the broker's lifetimes.
	Limits directory.ClientLimits
	// Names finds names that imitate that of another client. An error means that it cannot be known now. If nil, names are not compared.
	Names interface {
		Imitates(ctx context.Context, name string) (bool, error)
	}
	// InitialTokenHash is the SHA-256 of the token that a registration needs. If empty, it needs none.
	InitialTokenHash []byte
	// PerMinute is the number of registrations from one address, and MaxClients that of registered clients at a time. Several brokers
	// that register clients at the same time may exceed MaxClients by a few.
	PerMinute, MaxClients int
	// UnusedAfter is how long a client is kept that is not used.
	UnusedAfter time.Duration
	// Logger receives diagnostics. If nil, slog.Default is used.
	Logger *slog.Logger
	// Audit receives the lines of security events. If nil, Logger receives them.
	Audit *slog.Logger
}

// Service has the use cases. It starts no goroutine. It is safe for concurrent use.
type Service struct {
	cfg       Config
	path      *commit.Path
	audit     broker.Audit
	addresses *addresses
	refusals  *refusals
	adding    *semaphore.Weighted // of weight 1, guards clients
	clients   population
}

// New returns the use cases on the commit path.
func New(cfg Config) *Service {
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	audit := broker.Audit{Logger: cmp.Or(cfg.Audit, cfg.Logger)}
	return &Service{
		cfg: cfg, path: cfg.Path, audit: audit, addresses: newAddresses(cfg.PerMinute), refusals: newRefusals(audit, cfg.Clock),
		adding: semaphore.NewWeighted(1),
	}
}

// Register registers a client and returns it with its secret, if it authenticates by one, and its registration access token. metadata is
// the body of the request. initialToken is the bearer token of the request, or empty. Errors: CodeTooManyAttempts; CodeInvalidToken;
// CodeInvalidRedirectURI, CodeInvalidClientMetadata and CodeUnapprovedSoftware; CodeUnavailable, also if there are too many clients.
func (svc *Service) Register(ctx context.Context, metadata json.RawMessage, initialToken string, req broker.Request) (broker.ClientRegistration, error) {
	if err := svc.path.GrantsReady(); err != nil { // a broker of an earlier release would remove the client at its start
		return broker.ClientRegistration{}, err
	}
	if wait, first := svc.addresses.take(req.Addr, svc.cfg.Clock.Now()); wait > 0 {
		err := &broker.Error{Code: broker.CodeTooManyAttempts, Message: "Too many registrations from this address; try again later.", RetryAfter: wait}
		if first {
			svc.refusals.write(ctx, err, "register", "", req)
		}
		return broker.ClientRegistration{}, err
	}
	registration, err := svc.register(ctx, metadata, initialToken, req)
	if err != nil {
		refusal := commit.AppError(ctx, "registering a client", err)
		svc.refusals.write(ctx, refusal, "register", "", req)
		return broker.ClientRegistration{}, refusal
	}
	return registration, nil
}

func (svc *Service) register(ctx context.Context, metadata json.RawMessage, initialToken string, req broker.Request) (broker.ClientRegistration, error) {
	if len(svc.cfg.InitialTokenHash) > 0 && !matches(initialToken, svc.cfg.InitialTokenHash) {
		return broker.ClientRegistration{}, &broker.Error{Code: broker.CodeInvalidToken, Message: "A registration needs the initial access token of this broker."}
	}
	m, err := clientmetadata.Read(metadata)
	if err != nil {
		return broker.ClientRegistration{}, err
	}
	client, err := m.Client(directory.NewRegisteredID(), broker.ClassRegistered, svc.cfg.Policy)
	if err != nil {
		return broker.ClientRegistration{}, err
	}
	if err := svc.checkName(ctx, client.Name); err != nil {
		return broker.ClientRegistration{}, err
	}
	method := m.Method(broker.ClassRegistered)
	if method == clientmetadata.AuthBasic || method == clientmetadata.AuthPost {
		client.Secret = randomToken()
	}
	token := randomToken()
	record := directory.NewClientRecord(client)
	record.Dynamic = true
	record.Registration = &directory.Registration{TokenHash: directory.HashSecret(token), AuthMethod: method, ApplicationType: m.ApplicationType}
	if err := svc.add(ctx, &record); err != nil {
		return broker.ClientRegistration{}, err
	}
	svc.audit.Info(ctx, "client_register", req, "client_id", record.ID, "name", record.Name, "method", method, "redirect_uris", record.RedirectURIs, "scopes", record.Scopes)
	registration := svc.describe(record)
	registration.Secret, registration.Token = client.Secret, token
	return registration, nil
}

// checkName refuses a name that people may take for another client's.
func (svc *Service) checkName(ctx context.Context, name string) error {
	if name == "" || svc.cfg.Names == nil {
		return nil
	}
	imitates, err := svc.cfg.Names.Imitates(ctx, name)
	switch {
	case err != nil:
		return err
	case imitates:
		return &broker.Error{Code: broker.CodeInvalidClientMetadata, Message: "client_name is that of another client, or looks like it; choose another name."}
	}
	return nil
}

// Client returns the registration of a client. token is the registration access token. Errors: CodeInvalidToken.
func (svc *Service) Client(ctx context.Context, id, token string, req broker.Request) (broker.ClientRegistration, error) {
	record, _, err := svc.find(ctx, id, token)
	if err != nil {
		return broker.ClientRegistration{}, svc.refuse(ctx, "read", id, err, req)
	}
	return svc.describe(record), nil
}

// Remove removes a client, ends its sessions and revokes all tokens that were issued to it. Errors: CodeInvalidToken.
func (svc *Service) Remove(ctx context.Context, id, token string, req broker.Request) error {
	if _, _, err := svc.find(ctx, id, token); err != nil { // without a turn of the committer
		return svc.refuse(ctx, "remove", id, err, req)
	}
	epoch, err := svc.end(ctx, id, token)
	if err != nil {
		return svc.refuse(ctx, "remove", id, err, req)
	}
	svc.audit.Info(ctx, "client_unregister", req, "client_id", id, "epoch", epoch)
	return nil
}

func (svc *Service) refuse(ctx context.Context, operation, id string, err error, req broker.Request) error {
	refusal := commit.AppError(ctx, operation+" of a registered client", err)
	if !directory.IsRegisteredID(id) {
		id = ""
	}
	svc.refusals.write(ctx, refusal, operation, id, req)
	return refusal
}

// describe returns the registration of a record, as the client may use it now.
func (svc *Service) describe(record directory.ClientRecord) broker.ClientRegistration {
	record = clientmetadata.Apply(record, svc.cfg.Policy)
	return broker.ClientRegistration{
		ClientID: record.ID, IssuedAt: time.Unix(record.CreatedAt, 0), Metadata: clientmetadata.Members(record),
	}
}

// randomToken returns 256 random bits as text.
func randomToken() string {
	var token [32]byte
	_, _ = rand.Read(token[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(token[:])
}

// matches reports whether hash is that of token. Its time depends on neither.
func matches(token string, hash []byte) bool {
	presented := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(presented[:], hash) == 1
}
