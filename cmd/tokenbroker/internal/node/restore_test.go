package node_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/session"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/node"
	"tokenbroker/cmd/tokenbroker/internal/restore"
	"tokenbroker/keyring"
	"tokenbroker/validator"
)

// backup requests a backup from the running broker, as an operator does, and returns the file.
func (l *lab) backup() string {
	l.t.Helper()
	client, err := adminclient.Locate(adminclient.Options{
		Admin: l.node.AdminURL(), TokenFile: filepath.Join(l.dir, node.AdminTokenFile),
	})
	if err != nil {
		l.t.Fatal(err)
	}
	defer client.Close()
	var content bytes.Buffer
	if err := client.Backup(l.t.Context(), &content); err != nil {
		l.t.Fatal(err)
	}
	path := filepath.Join(l.t.TempDir(), "backup")
	if err := os.WriteFile(path, content.Bytes(), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

// restore replaces the store of the stopped broker by the backup.
func (l *lab) restore(file string) restore.Result {
	l.t.Helper()
	plan, err := restore.Prepare(l.t.Context(), restore.Config{File: file, DataDir: l.dir, AccessLife: session.DefaultPolicy.AccessLife})
	if err != nil {
		l.t.Fatal(err)
	}
	done, err := plan.Run(l.t.Context())
	if err := errors.Join(err, plan.Close()); err != nil {
		l.t.Fatal(err)
	}
	return done
}

// dead checks that the service refuses the token as revoked or invalid, and not because it is stale.
func (l *lab) dead(v *validator.Validator, b *browser, what string) {
	l.t.Helper()
	eventually(l.t, what+" is refused", func() bool {
		_, err := v.Validate(l.t.Context(), b.access)
		return errors.Is(err, validator.ErrRevoked) || errors.Is(err, validator.ErrInvalid)
	})
}

// TestARestoreRevivesNothing restores a backup that was made before a log-off, a revocation, a change
// of a password and the disabling of a user, while two services run. Both refuse every token that was
// signed before the restore, whether before or after the backup. Users, clients and accounts are
// restored, and both services accept the tokens of new sign-ins within seconds.
func TestARestoreRevivesNothing(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	l.addUser("eve")
	services := map[string]*validator.Validator{"NATS": l.startService(0), "HTTP": l.startHTTPService(0)}
	before, ended := l.signIn(), l.signIn()
	was := l.storeID()

	file := l.backup()

	after := l.signIn()
	if status := ended.logOff(); status != http.StatusOK {
		t.Fatalf("log-off: %d", status)
	}
	if _, err := l.node.Operators().DisableUser(t.Context(), "eve", broker.Request{}); err != nil {
		t.Fatal(err)
	}
	for name, v := range services {
		l.accepted(v, before)
		l.accepted(v, after)
		l.refused(v, ended)
		t.Logf("%s is current", name)
	}
	l.stopBroker()
	done := l.restore(file)
	if done.BackupStore != was || done.Store == was || done.Users != 2 || done.Clients != 2 || len(done.Warnings) > 0 {
		t.Errorf("it says %+v", done)
	}
	if strings.Join(done.Disabled, " ") != "eve" {
		t.Errorf("disabled: %v", done.Disabled)
	}
	l.startBroker()
	if got := l.storeID(); got != done.Store {
		t.Errorf("the store is %s, the restore said %s", got, done.Store)
	}

	for name, b := range map[string]*browser{"of before the backup": before, "of after it": after, "that was logged off": ended} {
		if status := b.post("/auth/refresh/", `{"CSRF_token": "`+b.csrf+`"}`); status != http.StatusUnauthorized {
			t.Errorf("the session %s: refresh %d", name, status)
		}
		for service, v := range services {
			l.dead(v, b, "the token "+name+", at the service over "+service)
		}
	}
	anew := l.signIn()
	for _, v := range services {
		l.accepted(v, anew)
	}
	anew.refreshes()
	eve := &browser{l: l}
	if status := eve.post("/auth/sign-in/", `{"username": "eve", "password": "lovelace"}`); status == http.StatusOK {
		t.Error("a user who was disabled after the backup can sign in")
	}
	// The services work as before: new revocations reach them at once.
	for _, v := range services {
		l.refusedAtOnce(v)
	}
	for _, b := range []*browser{before, after, ended} {
		for _, v := range services {
			l.dead(v, b, "an old token, later,")
		}
	}
}

// storeID returns the id of the running broker's store.
// slowReader accepts the first bytes of a backup only after first has run.
type slowReader struct {
	bytes.Buffer
	first func()
}

func (r *slowReader) Write(p []byte) (int, error) {
	if r.first != nil {
		r.first()
		r.first = nil
	}
	return r.Buffer.Write(p)
}

// TestABackupDuringAReseal checks that a slow reader of a backup does not delay a reseal, and that the
// whole backup opens under the KEK that was in force when the backup started.
func TestABackupDuringAReseal(t *testing.T) {
	l := newLab(t)
	l.startNATS()
	l.startBroker()
	kekFile := node.KEKFile(l.dir)
	old, err := keyring.LoadKEKFile(kekFile)
	if err != nil {
		t.Fatal(err)
	}
	client, err := adminclient.Locate(adminclient.Options{DataDir: l.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := &slowReader{first: func() {
		if _, err := client.ResealKeys(t.Context(), "", ""); err != nil {
			t.Errorf("the reseal: %v", err)
		}
	}}
	if err := l.node.Backup(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	during, after := filepath.Join(t.TempDir(), "backup"), l.backup()
	if err := os.WriteFile(during, r.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	l.stopBroker()
	for _, c := range []struct {
		file  string
		kek   keyring.KEK // of the backup; if nil, the one in force
		wrong bool
	}{{during, nil, true}, {after, old, true}, {after, nil, false}, {during, old, false}} {
		plan, err := restore.Prepare(t.Context(), restore.Config{File: c.file, DataDir: l.dir, BackupKEK: c.kek})
		if errors.Is(err, keyring.ErrWrongKEK) != c.wrong || err != nil && !c.wrong {
			t.Errorf("%s with the old KEK %t: %v", c.file, c.kek != nil, err)
		}
		if err == nil {
			if err := plan.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (l *lab) storeID() string {
	l.t.Helper()
	resp, err := http.Get("http://" + l.listen + "/.well-known/jwks.json") //nolint:noctx // on loopback
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	var set struct {
		Store string `json:"store"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&set); err != nil {
		l.t.Fatal(err)
	}
	return set.Store
}
