package oauthclient_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/oauthclient"
	"tokenbroker/store"
)

const (
	registeredID = "registered-aaaaaaaaaaaaaaaaaaaaaaaaaa"
	month        = 30 * 24 * time.Hour
)

func registeredRequest(pairs ...string) url.Values {
	return request(registeredID, append([]string{"redirect_uri", appRedirect}, pairs...)...)
}

// setRegistered writes the record of a client that registered itself now.
func (a *selfDescribed) setRegistered(t *testing.T, change func(*directory.ClientRecord)) {
	t.Helper()
	c := directory.ClientRecord{
		V: directory.RecordVersion, ID: registeredID, Name: "A Registered App", Dynamic: true, CreatedAt: a.Clock.Now().Unix(),
		Scopes: []string{"openid", "hello:read", "hello:write"}, Grants: []string{broker.GrantAuthorizationCode, broker.GrantRefreshToken},
		RedirectURIs: []string{appRedirect},
		Registration: &directory.Registration{TokenHash: []byte("t"), AuthMethod: "none", ExpiresAt: a.Clock.Now().Add(month).Unix()},
	}
	if change != nil {
		change(&c)
	}
	write, err := c.Write(0)
	if err != nil {
		t.Fatal(err)
	}
	write.Blind = true
	if errs := a.Store.Commit(t.Context(), []store.Change{{Writes: []store.Write{write}}}, nil); errs[0] != nil {
		t.Fatal(errs)
	}
}

// expiry returns when the registered client expires.
func (a *selfDescribed) expiry(t *testing.T) time.Time {
	t.Helper()
	c, _, err := directory.ReadClient(t.Context(), a.Store, registeredID)
	if err != nil || c.Registration == nil {
		t.Fatal(c, err)
	}
	return time.Unix(c.Registration.ExpiresAt, 0)
}

// clientWrites counts the writes of the registered client's record, and refuses them with err.
type clientWrites struct {
	store.Store
	mu      sync.Mutex // guards the fields below
	n       int
	expires int64 // of the latest write
	err     error
	before  func() // called once, before the first other change
}

func (s *clientWrites) Commit(ctx context.Context, changes []store.Change, seal store.Seal) []error {
	errs := make([]error, len(changes))
	var rest []store.Change
	var at []int
	for i, c := range changes {
		if before := s.before; before != nil {
			s.before = nil
			before()
		}
		if len(c.Writes) == 1 && c.Writes[0].Key == directory.ClientKey(registeredID) {
			s.mu.Lock()
			s.n, s.expires = s.n+1, c.Writes[0].ExpiresAt
			errs[i] = s.err
			s.mu.Unlock()
		}
		if errs[i] == nil {
			rest, at = append(rest, c), append(at, i)
		}
	}
	if len(rest) > 0 {
		for i, err := range s.Store.Commit(ctx, rest, seal) {
			errs[at[i]] = err
		}
	}
	return errs
}

func (s *clientWrites) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// newRegistered returns a broker with the registered client.
func newRegistered(t *testing.T, change ...func(*oauthclient.Config)) (*selfDescribed, *clientWrites) {
	t.Helper()
	writes := &clientWrites{}
	h := brokertest.Start(t, func(c *brokertest.Config) { writes.Store, c.Store = c.Store, writes })
	a := selfDescribedOn(t, h, change...)
	a.setRegistered(t, nil)
	return a, writes
}

func TestAnUnusedClientThatRegisteredItselfIsUnknown(t *testing.T) {
	a, _ := newRegistered(t)
	browser := a.MustSignIn(t)
	answer := a.token(t, a.code(t, registeredRequest(), browser))
	a.setRegistered(t, func(c *directory.ClientRecord) { c.Registration.ExpiresAt = a.Clock.Now().Unix() + 1 })
	a.authorize(t, registeredRequest(), "")
	// A store may remove the record later than that.
	a.Put(t, directory.ClientKey(registeredID), strings.Replace(a.record(t), `"expires_at":`, `"expires_at":1,"was":`, 1))
	_, err := a.svc.Authorize(t.Context(), broker.AuthorizationRequest{Params: registeredRequest()}, brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidRedirect)
	a.refuses(t, refresh(registeredID, answer.RefreshToken), broker.CodeInvalidClient, "unknown client")
}

// record returns the text of the registered client's record.
func (a *selfDescribed) record(t *testing.T) string {
	t.Helper()
	rec, err := a.Store.Get(t.Context(), directory.ClientKey(registeredID))
	if err != nil {
		t.Fatal(err)
	}
	return string(rec.Value)
}

func TestTheUseOfAClientThatRegisteredItselfIsRecordedOnceADay(t *testing.T) {
	for name, tc := range map[string]struct{ unused, every time.Duration }{
		"a month": {month, 24 * time.Hour}, "an hour": {time.Hour, 6 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			a, writes := newRegistered(t, func(c *oauthclient.Config) { c.UnusedAfter = tc.unused })
			a.setRegistered(t, func(c *directory.ClientRecord) { c.Registration.ExpiresAt = a.Clock.Now().Add(tc.unused).Unix() })
			code := a.code(t, registeredRequest(), a.MustSignIn(t))
			a.Clock.Advance(time.Second)
			answer := a.token(t, code)
			if writes.count() != 0 {
				t.Error("the use of a new client was recorded")
			}
			for range 3 {
				a.Clock.Advance(tc.every)
				for range 2 {
					answer = a.token(t, refresh(registeredID, answer.RefreshToken))
				}
				if end := a.expiry(t); !end.Equal(a.Clock.Now().Add(tc.unused)) {
					t.Errorf("it ends at %v, want %v after now", end, tc.unused)
				}
			}
			if n := writes.count(); n != 3 {
				t.Errorf("%d writes, want 3", n)
			}
			a.Clock.Advance(tc.every)
			a.token(t, a.code(t, registeredRequest(), a.MustSignIn(t)))
			if n := writes.count(); n != 4 {
				t.Errorf("%d writes after a code, want 4", n)
			}
			if writes.expires != a.expiry(t).Unix() || !strings.Contains(a.record(t), `"scopes":["openid","hello:read","hello:write"]`) {
				t.Errorf("the store's expiry is %d, or the record is not what was registered: %s", writes.expires, a.record(t))
			}
		})
	}
}

func TestConcurrentUsesOfAClientAreRecordedOnce(t *testing.T) {
	a, writes := newRegistered(t)
	browser := a.MustSignIn(t)
	var grants []*broker.TokenAnswer
	for range 16 {
		grants = append(grants, a.token(t, a.code(t, registeredRequest("scope", "openid"), browser)))
	}
	a.Clock.Advance(25 * time.Hour)
	for i, got := range brokertest.AtOnce(len(grants), func(i int) (*broker.TokenAnswer, error) {
		return a.svc.Token(t.Context(), refresh(registeredID, grants[i].RefreshToken), brokertest.Request)
	}) {
		if got.Err != nil {
			t.Errorf("%d: %v", i, got.Err)
		}
	}
	if n := writes.count(); n != 1 {
		t.Errorf("%d writes of the client's record, want 1", n)
	}
}

// Another broker may have recorded a use since the record was read.
func TestAUseThatAnotherBrokerRecordedIsNotRecordedAgain(t *testing.T) {
	a, writes := newRegistered(t)
	answer := a.token(t, a.code(t, registeredRequest(), a.MustSignIn(t)))
	a.Clock.Advance(25 * time.Hour)
	writes.before = func() { a.setRegistered(t, nil) }
	a.token(t, refresh(registeredID, answer.RefreshToken))
	if writes.before != nil || writes.count() != 0 {
		t.Errorf("%d writes, want none", writes.count())
	}
}

// countedReads counts the readings of single records.
type countedReads struct {
	store.Reader
	n atomic.Int32
}

func (r *countedReads) Get(ctx context.Context, key string) (store.Record, error) {
	r.n.Add(1)
	return r.Reader.Get(ctx, key)
}

func TestARefreshReadsTheRecordOfItsClientOnce(t *testing.T) {
	reads := &countedReads{}
	a, _ := newRegistered(t, func(c *oauthclient.Config) { reads.Reader, c.Store = c.Store, reads })
	a.Put(t, "client.known", `{"v":1,"id":"known","scopes":["openid"],"grants":["authorization_code","refresh_token"],"redirect_uris":["`+appRedirect+`"]}`)
	browser := a.MustSignIn(t)
	for _, id := range []string{"known", appURL, registeredID} {
		answer := a.token(t, a.code(t, request(id, "redirect_uri", appRedirect, "scope", "openid"), browser))
		before := reads.n.Load()
		a.token(t, refresh(id, answer.RefreshToken))
		if n := reads.n.Load() - before; n != 1 {
			t.Errorf("%s: %d readings, want 1", id, n)
		}
	}
}

func TestTokensAreIssuedIfTheUseOfTheClientCannotBeRecorded(t *testing.T) {
	a, writes := newRegistered(t)
	answer := a.token(t, a.code(t, registeredRequest(), a.MustSignIn(t)))
	end := a.expiry(t)
	a.Clock.Advance(25 * time.Hour)
	writes.err = errors.New("no space")
	answer = a.token(t, refresh(registeredID, answer.RefreshToken))
	if !a.expiry(t).Equal(end) || writes.count() != 1 || !strings.Contains(a.Log.String(), "the use of a client that registered itself cannot be recorded") {
		t.Errorf("%d writes; log:\n%s", writes.count(), a.Log)
	}
	writes.err = nil
	a.token(t, refresh(registeredID, answer.RefreshToken))
	if a.expiry(t).Equal(end) {
		t.Error("the next use was not recorded")
	}
}

func TestARemovedClientThatRegisteredItselfIsUnknown(t *testing.T) {
	a, _ := newRegistered(t)
	answer := a.token(t, a.code(t, registeredRequest(), a.MustSignIn(t)))
	if _, err := a.RemoveClient(t.Context(), registeredID, brokertest.Operator); err != nil {
		t.Fatal(err)
	}
	a.refuses(t, refresh(registeredID, answer.RefreshToken), broker.CodeInvalidClient, "unknown client")
}

func TestTheKeysOfClientsThatDescribeThemselvesAreUntrusted(t *testing.T) {
	var got []broker.AssertionKeys
	a := newSelfDescribed(t, func(c *oauthclient.Config) {
		c.Assertions = assertionsFunc(func(keys broker.AssertionKeys) { got = append(got, keys) })
	})
	const jwks = "https://app.example.com/jwks.json"
	a.docs.set(t, map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": jwks})
	a.setRegistered(t, func(c *directory.ClientRecord) { c.JWKSURI = jwks })
	a.Put(t, "client.known", `{"v":1,"id":"known","jwks_uri":"`+jwks+`","grants":["refresh_token"]}`)
	for i, id := range []string{appURL, registeredID, "known"} {
		a.refuses(t, broker.TokenRequest{GrantType: broker.GrantRefreshToken, RefreshToken: "rt1.x", Client: broker.ClientCredentials{
			AssertionType: broker.AssertionType, Assertion: encoded(`{}`) + "." + encoded(`{"iss":"`+id+`","sub":"`+id+`"}`) + "." + encoded("x"),
		}}, broker.CodeInvalidClient, "client_id="+id)
		if len(got) != i+1 || got[i].JWKSURI != jwks || got[i].Untrusted != (id != "known") {
			t.Errorf("%s: keys %+v", id, got)
		}
	}
}

func TestKeysOfAClientThatCannotBeReadNow(t *testing.T) {
	a := newSelfDescribed(t, func(c *oauthclient.Config) { c.Assertions = unreadableKeys{} })
	a.setRegistered(t, func(c *directory.ClientRecord) { c.JWKSURI = "https://app.example.com/jwks.json" })
	a.Put(t, "client.known", `{"v":1,"id":"known","jwks_uri":"https://app.example.com/jwks.json","grants":["refresh_token"]}`)
	for _, id := range []string{registeredID, "known"} {
		_, err := a.svc.Token(t.Context(), broker.TokenRequest{GrantType: broker.GrantRefreshToken, RefreshToken: "rt1.x", Client: broker.ClientCredentials{
			AssertionType: broker.AssertionType, Assertion: encoded(`{}`) + "." + encoded(`{"iss":"`+id+`","sub":"`+id+`"}`) + "." + encoded("x"),
		}}, brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeUpstreamUnavailable)
		if errors.Is(err, broker.ErrClientKeys) != (id != "known") {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// unreadableKeys cannot read any keys now.
type unreadableKeys struct{}

func (unreadableKeys) Verify(context.Context, string, broker.AssertionKeys) (broker.Assertion, error) {
	return broker.Assertion{}, broker.ErrUpstreamUnavailable
}

// assertionsFunc refuses every assertion after it was called with the keys.
type assertionsFunc func(broker.AssertionKeys)

func (f assertionsFunc) Verify(_ context.Context, _ string, keys broker.AssertionKeys) (broker.Assertion, error) {
	f(keys)
	return broker.Assertion{}, broker.ErrAssertion
}
