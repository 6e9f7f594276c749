package operator

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/internal/setting"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

// DefaultOverlap is how long a rotated secret stays valid unless the operator says otherwise, and MaxOverlap the longest time.
const (
	DefaultOverlap = 24 * time.Hour
	MaxOverlap     = 30 * 24 * time.Hour
)

// AddClient registers a client. A client that is not public and has neither keys nor workloads gets a secret, which only this answer
// has. The sessions and tokens of a removed client with the same id end. Errors: CodeClientExists, CodeInvalidClientConfig, and
// CodeUnavailable while brokers of an earlier release run.
func (svc *Service) AddClient(ctx context.Context, nc NewClient, req broker.Request) (ClientSecret, error) {
	if err := svc.path.GrantsReady(); err != nil { // a broker of an earlier release would remove the client at its start
		return ClientSecret{}, err
	}
	client := broker.Client{ID: nc.ID}
	if err := nc.apply(&client); err != nil {
		return ClientSecret{}, err
	}
	secret := ""
	switch public := directory.NewClientRecord(client).Public(); {
	case nc.Public && !public:
		return ClientSecret{}, invalidClient("A public client has neither jwks, jwks_uri nor workloads; leave them out, or leave out public.")
	case !nc.Public && public:
		secret = newClientSecret()
		client.Secret = secret
	}
	if err := svc.validateClient(client, broker.ClassKnown); err != nil {
		return ClientSecret{}, err
	}
	record := directory.NewClientRecord(client)
	record.Dynamic, record.CreatedAt = true, svc.cfg.Clock.Now().Unix()
	if err := svc.insertClient(ctx, &record, req); err != nil {
		return ClientSecret{}, commit.AppError(ctx, "adding a client", err)
	}
	svc.audit.Info(ctx, "client_add", req, "client_id", client.ID, "public", nc.Public, "grants", client.Grants, "changed", true)
	return ClientSecret{ClientInfo: svc.clientInfo(record), Secret: secret}, nil
}

// insertClient writes the record of a client that does not exist, and sets its epoch if a client with the same id existed before.
func (svc *Service) insertClient(ctx context.Context, record *directory.ClientRecord, req broker.Request) error {
	write := func(ctx context.Context, expectRemoved bool) ([]store.Write, error) {
		stored, rev, err := directory.ReadClient(ctx, svc.cfg.Store, record.ID)
		if err != nil {
			return nil, err
		}
		if (rev != 0) != expectRemoved || rev != 0 && !stored.Removed {
			return nil, &broker.Error{Code: broker.CodeClientExists, Message: "A client with this id exists; choose another id, or change that client."}
		}
		write, err := record.Write(rev)
		return []store.Write{write}, err
	}
	_, rev, err := directory.ReadClient(ctx, svc.cfg.Store, record.ID)
	switch {
	case err != nil:
		return err
	case rev == 0:
		return svc.path.Update(ctx, func() (*store.Change, error) {
			writes, err := write(ctx, false)
			return &store.Change{Writes: writes}, err
		})
	}
	_, _, err = svc.path.End(ctx, commit.Termination{
		Kind: revocation.KindClient, Value: record.ID, Reason: revocation.ReasonRevoked, By: req.Operator,
		Writes: func(ctx context.Context, epoch int64) ([]store.Write, error) {
			record.Epoch = epoch
			return write(ctx, true)
		},
	})
	return err
}

// UpdateClient changes the members of a dynamic client that are not nil. Of concurrent changes, each is kept unless a later one
// changes the same member. It writes nothing if nothing changes. Errors: CodeUnknownClient, CodeInvalidClientConfig.
func (svc *Service) UpdateClient(ctx context.Context, id string, change ClientSettings, req broker.Request) (ClientInfo, error) {
	record, changed, err := svc.changeClient(ctx, id, "change it there", func(record *directory.ClientRecord) error {
		client := record.Client()
		if err := change.apply(&client); err != nil {
			return err
		}
		next := directory.NewClientRecord(client)
		if next.Public() != record.Public() {
			return invalidClient("This change would make a confidential client public, or a public client confidential; add another client instead.")
		}
		if err := svc.validateClient(client, record.Class()); err != nil {
			return err
		}
		next.PreviousUntil, next.Dynamic, next.CreatedAt, next.Epoch = record.PreviousUntil, record.Dynamic, record.CreatedAt, record.Epoch
		next.Registration = record.Registration
		*record = next
		return nil
	})
	if err != nil {
		return ClientInfo{}, commit.AppError(ctx, "changing a client", err)
	}
	svc.audit.Info(ctx, "client_update", req, "client_id", id, "changed", changed)
	return svc.clientInfo(record), nil
}

// RotateClientSecret gives a dynamic client a new secret, which only this answer has. The present one stays valid for overlap, which
// is 0 to [MaxOverlap]; the one before it ends at once. Errors: CodeUnknownClient, CodeInvalidClientConfig.
func (svc *Service) RotateClientSecret(ctx context.Context, id string, overlap time.Duration, req broker.Request) (ClientSecret, error) {
	if overlap < 0 || overlap > MaxOverlap || overlap%time.Second != 0 {
		return ClientSecret{}, invalidClient("The overlap must be whole seconds, from 0s to %s.", setting.Duration(MaxOverlap))
	}
	secret := newClientSecret()
	advice := "set previous_secret to the present secret and secret to a new one"
	record, _, err := svc.changeClient(ctx, id, advice, func(record *directory.ClientRecord) error {
		if record.Public() {
			return invalidClient("A public client has no secret; add a confidential client instead.")
		}
		if record.Registration != nil && len(record.SecretHash) == 0 {
			return invalidClient("This client registered itself and authenticates by its own keys; it has no secret.")
		}
		record.PreviousHash, record.PreviousUntil = nil, 0
		if overlap > 0 && len(record.SecretHash) > 0 {
			record.PreviousHash, record.PreviousUntil = record.SecretHash, svc.cfg.Clock.Now().Add(overlap).Unix()
		}
		record.SecretHash = directory.HashSecret(secret)
		return nil
	})
	if err != nil {
		return ClientSecret{}, commit.AppError(ctx, "rotating a client's secret", err)
	}
	svc.audit.Info(ctx, "client_rotate_secret", req, "client_id", id, "overlap", overlap.String(), "changed", true)
	return ClientSecret{ClientInfo: svc.clientInfo(record), Secret: secret}, nil
}

// RemoveClient removes a dynamic client, ends its sessions and revokes all tokens that were issued to it. Errors: CodeUnknownClient,
// CodeInvalidClientConfig.
func (svc *Service) RemoveClient(ctx context.Context, id string, req broker.Request) (Revoked, error) {
	if directory.IsDocumentID(id) {
		return Revoked{}, errDocument()
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	epoch, seq, err := svc.path.End(ctx, commit.Termination{
		Kind: revocation.KindClient, Value: id, Reason: revocation.ReasonRevoked, By: req.Operator,
		Writes: func(ctx context.Context, epoch int64) ([]store.Write, error) {
			record, rev, err := svc.readClient(ctx, id)
			if err != nil {
				return nil, err
			}
			if !record.Dynamic {
				return nil, errConfigured(id, "remove it there")
			}
			write, err := record.Tombstone(epoch, svc.cfg.Clock.Now(), svc.cfg.Policy.Idle).Write(rev)
			return []store.Write{write}, err
		},
	})
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "removing a client", err)
	}
	svc.audit.Info(ctx, "client_remove", req, "client_id", id, "epoch", epoch, "changed", true)
	return delivered(ctx, delivery, Revoked{Kind: string(revocation.KindClient), Value: id, Epoch: epoch, Changed: true}, seq), nil
}

// changeClient changes the record of a dynamic client. advice is what to do about a configured one. change may be called several times.
func (svc *Service) changeClient(ctx context.Context, id, advice string, change func(*directory.ClientRecord) error) (record directory.ClientRecord, changed bool, err error) {
	if directory.IsDocumentID(id) {
		return record, false, errDocument()
	}
	err = svc.path.Update(ctx, func() (*store.Change, error) {
		stored, rev, err := svc.readClient(ctx, id)
		if err != nil {
			return nil, err
		}
		if !stored.Dynamic {
			return nil, errConfigured(id, advice)
		}
		record = stored
		if err := change(&record); err != nil {
			return nil, err
		}
		before, err := stored.Write(rev)
		if err != nil {
			return nil, err
		}
		after, err := record.Write(rev)
		if changed = !bytes.Equal(before.Value, after.Value); err != nil || !changed {
			return nil, err
		}
		return &store.Change{Writes: []store.Write{after}}, nil
	})
	return record, changed, err
}

// errConfigured refuses the change of a client that the configuration has.
func errConfigured(id, advice string) error {
	return invalidClient("This client is configured at clients.%s in the configuration: %s, and reload it (SIGHUP).", id, advice)
}

// errDocument refuses the change of a client whose metadata is in its own document.
func errDocument() error {
	return invalidClient("This client describes itself in the document at its client_id, and the broker keeps only its epoch. " +
		"Revoke it to end its sessions; to refuse it, list the hosts whose documents are accepted at oauth.cimd.hosts in the configuration.")
}

func invalidClient(format string, args ...any) error {
	return &broker.Error{Code: broker.CodeInvalidClientConfig, Message: fmt.Sprintf(format, args...)}
}

// validateClient returns the problems of a client as one error.
func (svc *Service) validateClient(client broker.Client, class broker.ClientClass) error {
	problems := directory.ValidateClient(client, directory.ClientLimits{Policy: svc.cfg.Policy, Shared: svc.cfg.Shared, Class: class})
	if len(problems) == 0 {
		return nil
	}
	var texts []string
	for _, p := range problems {
		text := p.Message
		if p.Key != "" {
			text = p.Key + " " + text
		} else {
			text = "the client " + text
		}
		if p.Hint != "" {
			text += " (" + p.Hint + ")"
		}
		texts = append(texts, text)
	}
	return invalidClient("The client is refused: %s.", strings.Join(texts, "; "))
}

// newClientSecret returns a secret of 256 random bits.
func newClientSecret() string {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(secret[:])
}

// apply sets the members that are not nil.
func (s ClientSettings) apply(c *broker.Client) error {
	set(&c.Name, s.Name)
	set(&c.FirstParty, s.FirstParty)
	set(&c.JWKSURI, s.JWKSURI)
	for _, list := range []struct {
		into  *[]string
		value []string
	}{
		{&c.Scopes, s.Scopes}, {&c.DefaultScopes, s.DefaultScopes}, {&c.Audiences, s.Audiences}, {&c.Grants, directory.GrantTypes(s.Grants)},
		{&c.RedirectURIs, s.RedirectURIs}, {&c.PostLogoutURIs, s.PostLogoutURIs}, {&c.Origins, s.Origins},
	} {
		if list.value != nil {
			*list.into = list.value
		}
	}
	for _, life := range []struct {
		name string
		into *time.Duration
		text *string
	}{
		{"access_token", &c.AccessLife, s.AccessToken}, {"session_idle", &c.Idle, s.SessionIdle}, {"session_absolute", &c.Absolute, s.SessionAbsolute},
	} {
		d, err := parseLifetime(life.name, life.text)
		if err != nil {
			return err
		}
		if life.text != nil {
			*life.into = 0
		}
		set(life.into, d)
	}
	grace, err := parseLifetime("refresh_grace", s.RefreshGrace)
	if err != nil {
		return err
	}
	if s.RefreshGrace != nil {
		c.Grace = grace
	}
	if s.JWKS != nil {
		c.JWKS = nil
		if len(s.JWKS) > 0 {
			if c.JWKS, err = json.Marshal(s.JWKS); err != nil {
				return invalidClient("The client is refused: jwks cannot be written as JSON.")
			}
		}
	}
	if s.Workloads != nil {
		c.Workloads = nil
		for _, w := range s.Workloads {
			c.Workloads = append(c.Workloads, broker.Workload(w))
		}
	}
	return nil
}

func set[T any](into, value *T) {
	if value != nil {
		*into = *value
	}
}

// parseLifetime returns nil if there is no text, or an empty one.
func parseLifetime(name string, text *string) (*time.Duration, error) {
	if text == nil || *text == "" {
		return nil, nil
	}
	d, err := setting.ParseDuration(*text)
	if err != nil {
		return nil, invalidClient("The client is refused: %s %v.", name, err)
	}
	return new(d.Std()), nil
}
