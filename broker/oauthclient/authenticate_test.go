package oauthclient_test

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/store"
)

const issuer = "https://auth.example.com"

// authn is a broker with clients, whose authentication a test checks.
type authn struct {
	*testing.T
	*brokertest.Harness
	svc     *oauthclient.Service
	records store.Store
	audit   *strings.Builder
}

// newAuthn starts a broker whose assertions are verified by assertions.
func newAuthn(t *testing.T, assertions broker.Assertions, clients ...directory.ClientRecord) *authn {
	t.Helper()
	h := brokertest.Start(t)
	a := authnOn(t, h, h.Store, assertions)
	for _, c := range clients {
		a.put(c)
	}
	return a
}

// authnOn returns the authentication at a broker that keeps its records in records.
func authnOn(t *testing.T, h *brokertest.Harness, records store.Store, assertions broker.Assertions) *authn {
	a := &authn{T: t, Harness: h, records: records, audit: &strings.Builder{}}
	a.svc = oauthclient.New(oauthclient.Config{
		Path: h.Path, Store: records, Clock: h.Clock, Assertions: assertions, Issuer: issuer, Audience: []string{"demo-api"},
		Logger: slog.New(slog.DiscardHandler), Audit: slog.New(slog.NewTextHandler(a.audit, nil)),
	})
	return a
}

// put writes the record of a client.
func (a *authn) put(c directory.ClientRecord) {
	a.Helper()
	c.V = directory.RecordVersion
	_, rev, err := directory.ReadClient(a.Context(), a.records, c.ID)
	if err != nil {
		a.T.Fatal(err)
	}
	write, err := c.Write(rev)
	if err != nil {
		a.T.Fatal(err)
	}
	if errs, _, err := a.Path.Commit(a.Context(), store.Change{Writes: []store.Write{write}}); err != nil || errs[0] != nil {
		a.T.Fatal(errs, err)
	}
}

func (a *authn) authenticate(c broker.ClientCredentials) (broker.ClientInfo, error) {
	return a.svc.AuthenticateClient(a.Context(), c, brokertest.Request)
}

// refused fails the test unless the credentials are refused with the code and one audit line.
func (a *authn) refused(c broker.ClientCredentials, code broker.Code) *broker.Error {
	a.Helper()
	a.audit.Reset()
	info, err := a.authenticate(c)
	if !cmp.Equal(info, broker.ClientInfo{}) {
		a.Errorf("a refusal with %+v", info)
	}
	refusal := brokertest.WantCode(a.T, err, code)
	if lines := strings.Count(a.audit.String(), "event=client_authentication_refused"); lines != 1 || !strings.Contains(a.audit.String(), "refusal="+string(code)) {
		a.Errorf("audit: %s", a.audit)
	}
	return refusal
}

func (a *authn) accepted(c broker.ClientCredentials) broker.ClientInfo {
	a.Helper()
	a.audit.Reset()
	info, err := a.authenticate(c)
	if err != nil {
		a.Fatalf("%v; audit: %s", err, a.audit)
	}
	if a.audit.Len() > 0 {
		a.Errorf("audit: %s", a.audit)
	}
	return info
}

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func secret(id string, readings ...string) broker.ClientCredentials {
	return broker.ClientCredentials{ID: id, Secrets: readings}
}

func TestAnAuthenticatedClientIsDescribed(t *testing.T) {
	a := newAuthn(t, nil,
		directory.ClientRecord{ID: "svc", SecretHash: hash("s3cret"), Scopes: []string{"hello:read"}, Audiences: []string{"orders"}, Origins: []string{"https://app.test"}},
		directory.ClientRecord{ID: "plain.svc-2", SecretHash: hash("s3cret")}, directory.ClientRecord{ID: "app_1"})
	for _, c := range []struct {
		sent broker.ClientCredentials
		want broker.ClientInfo
	}{
		{secret("svc", "s3cret"), broker.ClientInfo{ID: "svc", Scopes: []string{"hello:read"}, Audiences: []string{"orders"}, Origins: []string{"https://app.test"}}},
		{secret("plain.svc-2", "s3cret"), broker.ClientInfo{ID: "plain.svc-2", Audiences: []string{"demo-api"}}},
		{secret("app_1"), broker.ClientInfo{ID: "app_1", Audiences: []string{"demo-api"}, Public: true}},
	} {
		if diff := cmp.Diff(c.want, a.accepted(c.sent)); diff != "" {
			t.Errorf("%s: %s", c.sent.ID, diff)
		}
	}
}

// Every refusal for want of the right secret is the same for the caller.
func TestAClientWithAWrongOrNoSecretIsRefused(t *testing.T) {
	a := newAuthn(t, nil, directory.ClientRecord{ID: "svc", SecretHash: hash("s3cret")}, directory.ClientRecord{ID: "public"},
		directory.ClientRecord{ID: "gone", SecretHash: hash("s3cret"), Removed: true}, directory.ClientRecord{ID: "gone.public", Removed: true},
		directory.ClientRecord{ID: "keys", JWKSURI: "https://svc.test/jwks.json"}, directory.ClientRecord{ID: "short", SecretHash: make([]byte, 16)})
	var first *broker.Error
	for name, sent := range map[string]broker.ClientCredentials{
		"wrong secret":                   secret("svc", "other"),
		"the hash as secret":             secret("svc", string(hash("s3cret"))),
		"confidential without secret":    secret("svc"),
		"confidential with empty secret": secret("svc", ""),
		"unknown":                        secret("nobody", "s3cret"),
		"unknown without secret":         secret("nobody"),
		"nothing":                        {},
		"secret without id":              secret("", "s3cret"),
		"public with a secret":           secret("public", "s3cret"),
		"removed":                        secret("gone", "s3cret"),
		"removed public":                 secret("gone.public"),
		"only keys, with a secret":       secret("keys", "s3cret"),
		"only keys, without anything":    secret("keys"),
		"damaged hash":                   secret("short", string(make([]byte, 16))),
		"other case":                     secret("SVC", "s3cret"),
		"not an id":                      secret("svc\x00", "s3cret"),
		"very long id":                   secret(strings.Repeat("a", 4096), "s3cret"),
	} {
		refusal := a.refused(sent, broker.CodeInvalidClient)
		if first == nil {
			first = refusal
		}
		if refusal.Message != first.Message || refusal.RetryAfter != 0 {
			t.Errorf("%s: %+v", name, refusal)
		}
		if wellFormed := !strings.Contains(name, "not an") && !strings.Contains(name, "very long") && sent.ID != ""; strings.Contains(a.audit.String(), "client_id=") != wellFormed {
			t.Errorf("%s: the id in the audit line: %s", name, a.audit)
		}
		if strings.Contains(a.audit.String(), "s3cret") {
			t.Errorf("%s: the audit line has the secret", name)
		}
	}
}

// RFC 6749 §2.3.1: a client may omit an empty secret, so one that sends it has sent nothing.
func TestRFC6749Section231AnEmptySecretIsNone(t *testing.T) {
	a := newAuthn(t, nil, directory.ClientRecord{ID: "public"}, directory.ClientRecord{ID: "odd", SecretHash: hash("")})
	if info := a.accepted(secret("public", "")); !info.Public {
		t.Errorf("%+v", info)
	}
	a.refused(secret("odd", ""), broker.CodeInvalidClient)
}

// Any of the readings of a secret may be the right one.
func TestASecretMayBeFormEncodedOrNot(t *testing.T) {
	a := newAuthn(t, nil, directory.ClientRecord{ID: "svc", SecretHash: hash("a+b")})
	for _, readings := range [][]string{{"a+b"}, {"a+b", "a b"}, {"a%2Bb", "a+b"}} {
		a.accepted(secret("svc", readings...))
	}
	for _, readings := range [][]string{{"a b"}, {"a%2Bb"}, {"a", "b"}} {
		a.refused(secret("svc", readings...), broker.CodeInvalidClient)
	}
}

func TestThePreviousSecretIsAcceptedUntilItsEnd(t *testing.T) {
	a := newAuthn(t, nil)
	until := a.Clock.Now().Add(time.Hour).Unix()
	a.put(directory.ClientRecord{ID: "svc", SecretHash: hash("new"), PreviousHash: hash("old"), PreviousUntil: until})
	a.put(directory.ClientRecord{ID: "open", SecretHash: hash("new"), PreviousHash: hash("old")})
	a.accepted(secret("svc", "old"))
	a.Clock.Advance(time.Hour - time.Second)
	a.accepted(secret("svc", "old"))
	a.Clock.Advance(time.Second)
	a.refused(secret("svc", "old"), broker.CodeInvalidClient)
	a.accepted(secret("svc", "new"))
	a.Clock.Advance(1e4 * time.Hour)
	a.accepted(secret("open", "old"))
}

// A wrong secret and an unknown client cost one read of the store each, and comparisons of equal number and length.
func TestAnUnknownClientCostsWhatAWrongSecretCosts(t *testing.T) {
	a := newAuthn(t, nil, directory.ClientRecord{ID: "svc", SecretHash: hash("s3cret")}, directory.ClientRecord{ID: "public"})
	reads := &countingReader{Reader: a.Store}
	svc := oauthclient.New(oauthclient.Config{Path: a.Path, Store: reads, Clock: a.Clock, Logger: slog.New(slog.DiscardHandler)})
	for _, id := range []string{"svc", "public", "nobody"} {
		reads.gets = nil
		_, err := svc.AuthenticateClient(t.Context(), secret(id, "wrong"), brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeInvalidClient)
		if want := []string{"client." + id}; !cmp.Equal(reads.gets, want) {
			t.Errorf("%s: %v", id, reads.gets)
		}
	}
}

type countingReader struct {
	store.Reader
	gets []string
}

func (r *countingReader) Get(ctx context.Context, key string) (store.Record, error) {
	r.gets = append(r.gets, key)
	return r.Reader.Get(ctx, key)
}

// A record that cannot be read refuses the client, as the broker's failure and not the client's.
func TestAnUnreadableClientIsRefused(t *testing.T) {
	a := newAuthn(t, nil)
	a.Put(t, directory.ClientKey("svc"), `{"v":99,"id":"svc"}`)
	a.refused(secret("svc"), broker.CodeInternal)
}
