package operator_test

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/session"
	"tokenbroker/store"
)

// addAsBefore adds a user like earlier versions: with the name as entered, and without a name record.
func addAsBefore(t *testing.T, h *brokertest.Harness, uid, name string) {
	t.Helper()
	user := session.NewUser(uid, name, "hashed a pass phrase", nil, h.Clock.Now())
	user.Accounts = []session.Account{{Issuer: broker.LocalIssuer, Subject: name}}
	value, err := user.Encode()
	if err != nil {
		t.Fatal(err)
	}
	link, err := json.Marshal(map[string]any{"v": 1, "uid": uid, "iss": broker.LocalIssuer, "sub": name})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(broker.LocalIssuer + "\x00" + name))
	key := "identity." + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))
	commit(t, h, store.Write{Key: "user." + uid, Value: value}, store.Write{Key: key, Value: link})
}

func commit(t *testing.T, h *brokertest.Harness, writes ...store.Write) {
	t.Helper()
	if errs := h.Store.Commit(t.Context(), []store.Change{{Writes: writes}}, nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
}

// forgetNames removes the name records, like in a store of an earlier version.
func forgetNames(t *testing.T, h *brokertest.Harness) {
	t.Helper()
	for _, prefix := range []string{"name.", "names"} {
		recs, err := h.Store.List(t.Context(), prefix, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			commit(t, h, store.Write{Key: rec.Key, Delete: true, Expect: rec.Revision})
		}
	}
}

// Users of earlier versions keep their names, also names that are equal today, and no new user gets one of those.
func TestNamesOfEarlierVersionsAreKept(t *testing.T) {
	h := brokertest.Start(t)
	nfc, nfd := "José", norm.NFD.String("José")
	invisible := "ad\u200bam"
	names := map[string]string{nfc: "aa", nfd: "ab", "JOSÉ": "ac", "grace": "ad", "Grace": "ae", norm.NFD.String("Zoë"): "af", invisible: "ag"}
	for name, short := range names {
		names[name] = short + strings.Repeat("a", 24) // the length of a uid
		addAsBefore(t, h, names[name], name)
	}
	forgetNames(t, h)
	signIn := func(name, uid string) {
		t.Helper()
		if grant, err := h.SignIn(t.Context(), name, "a pass phrase", brokertest.Request); err != nil || grant.UID != uid {
			t.Errorf("signing in as %+q: %v", name, err)
		}
	}
	for _, new := range []string{"josé", "GRACE", "ZOË", "adam", "jOSé"} {
		_, err := add(t, h, new)
		brokertest.WantCode(t, err, broker.CodeUserExists)
		for name, uid := range names {
			signIn(name, uid)
			signIn(" "+name+" ", uid)
		}
		signIn("Zoë", names[norm.NFD.String("Zoë")]) // entered in composed form
	}
	for i, name := range []string{nfd, "JOSÉ", nfc} {
		if i > 0 {
			_, err := add(t, h, "josé")
			brokertest.WantCode(t, err, broker.CodeUserExists)
		}
		if _, err := h.RemoveUser(t.Context(), names[name], brokertest.Operator); err != nil {
			t.Fatal(err)
		}
	}
	mustAdd(t, h, "josé")
}

// A user of the first versions has no list of accounts; one with a password has a local account.
func TestNamesOfTheFirstVersionsAreReserved(t *testing.T) {
	h := brokertest.Start(t)
	value, err := session.NewUser("aa", "Zoe", "hashed x", nil, h.Clock.Now()).Encode()
	if err != nil {
		t.Fatal(err)
	}
	federated, err := session.NewUser("ab", "Grace", "", nil, h.Clock.Now()).Encode()
	if err != nil {
		t.Fatal(err)
	}
	commit(t, h, store.Write{Key: "user.aa", Value: value}, store.Write{Key: "user.ab", Value: federated}, store.Write{Key: "user.ac", Value: []byte("damaged")})
	forgetNames(t, h)
	_, err = add(t, h, "zoe")
	brokertest.WantCode(t, err, broker.CodeUserExists)
	mustAdd(t, h, "grace") // the name of a provider's user reserves nothing
}

// crowd is more users than one change of the index processes.
const crowd = 600

func TestTheIndexOfNamesContinuesWhereItStopped(t *testing.T) {
	h := brokertest.Start(t)
	failing := &failingList{Store: h.Store}
	other := brokertest.Start(t, func(c *brokertest.Config) { c.Store = failing })
	for i := range crowd {
		addAsBefore(t, h, fmt.Sprintf("u%04d", i), fmt.Sprintf("User-%d", i))
	}
	forgetNames(t, h)
	failing.pages = 1
	_, err := other.AddUser(t.Context(), operator.NewUser{Username: "user-1", Password: "a pass phrase"}, brokertest.Operator)
	brokertest.WantCode(t, err, broker.CodeInternal)
	if done := nameRecords(t, h); done != 256 {
		t.Fatalf("%d names were indexed before the failure, want one page", done)
	}
	failing.pages = 10
	for _, i := range []int{0, 255, 256, 300, crowd - 1} {
		_, err = other.AddUser(t.Context(), operator.NewUser{Username: fmt.Sprintf("USER-%d", i), Password: "a pass phrase"}, brokertest.Operator)
		brokertest.WantCode(t, err, broker.CodeUserExists)
	}
	if done := nameRecords(t, h); done != crowd+1 { // including ada's
		t.Errorf("%d names are indexed, want %d", done, crowd+1)
	}
	if failing.pages != 8 {
		t.Errorf("the index was made from %d pages, want the two remaining ones", 10-failing.pages)
	}
}

// failingList lists a number of pages of users and then fails.
type failingList struct {
	store.Store
	pages int
}

func (f *failingList) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if prefix == "user." {
		if f.pages--; f.pages < 0 {
			return nil, errors.New("disk")
		}
	}
	return f.Store.List(ctx, prefix, after, limit)
}

func nameRecords(t *testing.T, h *brokertest.Harness) int {
	t.Helper()
	recs, err := h.Store.List(t.Context(), "name.", "", 10*crowd)
	if err != nil {
		t.Fatal(err)
	}
	return len(recs)
}

// The user's record reserves a name. A left-over name record does not.
func TestANameRecordWithoutItsUserReservesNothing(t *testing.T) {
	h := brokertest.Start(t)
	user := mustAdd(t, h, "grace")
	for _, prefix := range []string{"user." + user.UID, "identity."} {
		recs, err := h.Store.List(t.Context(), prefix, "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range recs {
			commit(t, h, store.Write{Key: rec.Key, Delete: true, Expect: rec.Revision})
		}
	}
	mustAdd(t, h, "Grace")
	_, err := add(t, h, "grace")
	brokertest.WantCode(t, err, broker.CodeUserExists)
}

// A damaged name record refuses a new user, because it is unknown who has the name.
func TestADamagedNameRecordRefusesTheName(t *testing.T) {
	h := brokertest.Start(t)
	mustAdd(t, h, "grace")
	recs, err := h.Store.List(t.Context(), "name.", "", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs {
		commit(t, h, store.Write{Key: rec.Key, Value: []byte("{"), Expect: rec.Revision})
	}
	_, err = add(t, h, "Grace")
	brokertest.WantCode(t, err, broker.CodeInternal)
	mustAdd(t, h, "zoe")
}

// A restored store, or one that was salvaged without some of its name records, makes them again.
func TestARestoredStoreIndexesItsNamesAgain(t *testing.T) {
	h := brokertest.Start(t)
	mustAdd(t, h, "grace")
	recs, err := h.Store.List(t.Context(), "name.", "", 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range recs { // lost
		commit(t, h, store.Write{Key: rec.Key, Delete: true, Expect: rec.Revision})
	}
	restored := operator.Restored{Store: h.Store, Ledger: h.Ledger, Clock: h.Clock, AccessLife: brokertest.Policy.AccessLife}
	if _, err := restored.SignOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = add(t, h, "GRACE")
	brokertest.WantCode(t, err, broker.CodeUserExists)
}
