package keyring_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// secretsOf unseals everything secret in the record, with the documented associated data.
func secretsOf(t *testing.T, store *memStore) [][]byte {
	t.Helper()
	var env envelope
	var record struct {
		Keys []struct {
			KID, Purpose, Algorithm string
			Private                 []byte
		}
		Masters []struct {
			ID     string
			Sealed []byte
		}
	}
	if err := json.Unmarshal(store.data, &env); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(env.Record, &record); err != nil {
		t.Fatal(err)
	}
	secrets := [][]byte{kek(1)}
	unseal := func(sealed []byte, aad ...string) {
		if sealed == nil { // erased
			return
		}
		plain, err := sealer(t, 1).Open(t.Context(), sealed, []byte("tokenbroker keyring\x00"+strings.Join(aad, "\x00")))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParsePKCS8PrivateKey(plain)
		switch key := parsed.(type) {
		case *ecdsa.PrivateKey:
			if plain, err = key.Bytes(); err != nil {
				t.Fatal(err)
			}
		case ed25519.PrivateKey:
			plain = key.Seed()
		default:
			if aad[0] == "key" {
				t.Fatalf("a private key of type %T (%v)", parsed, err)
			}
		}
		secrets = append(secrets, plain)
	}
	for _, k := range record.Keys {
		unseal(k.Private, "key", k.Purpose, k.KID, k.Algorithm)
	}
	for _, m := range record.Masters {
		unseal(m.Sealed, "master", m.ID)
	}
	return secrets
}

// shows reports whether text has eight consecutive bytes of secret in one of the forms that
// fmt, json and slog write bytes in.
func shows(text string, secret []byte) bool {
	for i := 0; i+9 <= len(secret); i++ {
		part := secret[i : i+8]
		decimal := strings.Trim(fmt.Sprintf("%d", part), "[]")
		golang := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}")
		for _, form := range []string{
			string(part), hex.EncodeToString(part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part),
			decimal, golang, strings.ReplaceAll(decimal, " ", ","),
			base64.StdEncoding.EncodeToString(secret[i : i+9]), base64.RawURLEncoding.EncodeToString(secret[i : i+9]),
		} {
			if strings.Contains(text, form) {
				return true
			}
		}
	}
	return false
}

var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%t", "%e", "%c", "%U"}

func TestNothingShowsKeyMaterial(t *testing.T) {
	store := &memStore{}
	var log bytes.Buffer
	cfg := config(t, store)
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var changes []lifecycle.Change
	cfg.OnChange = func(c lifecycle.Change) { changes = append(changes, c) }
	ring := open(t, cfg)
	secrets := secretsOf(t, store)
	rotation := rotate(t, ring, "master", "")
	compromised := compromise(t, ring, find(t, ring, "access", "active").KID)
	secrets = append(secrets, secretsOf(t, store)...)
	secrets = append(secrets, ring.Keys("csrf")...)
	if want := 1 + 4 + 1 + 1 + 4 + 2 + 2; len(secrets) != want {
		t.Fatalf("%d secrets, want %d: KEK, keys, master, derived", len(secrets), want)
	}

	values := map[string]any{
		"keyring": ring, "keyring value in a struct": struct{ K *keyring.Keyring }{ring},
		"snapshot": ring.Snapshot(), "sealer": sealer(t, 1), "config": cfg, "&config": &cfg,
		"KEK": keyring.KEK(kek(1)), "KEKs": []keyring.KEK{kek(1)}, "list": ring.List(),
		"unexported": struct{ k *keyring.Keyring }{ring},
		"status":     ring.Status(), "changes": changes, "rotation": rotation, "compromised": compromised,
	}
	for name, v := range values {
		var out strings.Builder
		for _, verb := range verbs {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if data, err := json.Marshal(v); err == nil {
			out.Write(data)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("x", "v", v)
		}
		for i, secret := range secrets {
			if shows(out.String(), secret) {
				t.Errorf("%s shows secret %d:\n%s", name, i, out.String())
			}
		}
	}
	for i, secret := range secrets {
		if shows(log.String(), secret) {
			t.Errorf("the log shows secret %d", i)
		}
		if shows(string(store.data), secret) {
			t.Errorf("the record shows secret %d", i)
		}
	}
	if !strings.Contains(log.String(), ring.List()[0].KID) {
		t.Error("the log does not name the keys that were made")
	}
	// shows itself must detect secrets.
	if !shows(fmt.Sprintf("%v", kek(1)), kek(1)) || !shows(fmt.Sprintf("%#v", kek(1)), kek(1)) || !shows(fmt.Sprintf("%x", kek(1)), kek(1)) {
		t.Fatal("shows does not detect a secret")
	}
}

func TestKeyInfoJSON(t *testing.T) {
	data, err := json.Marshal(lifecycle.KeyInfo{
		Label:   lifecycle.Label{KID: "k", Purpose: lifecycle.PurposeAccess, Algorithm: lifecycle.ES256, State: lifecycle.StateNext},
		Created: testTime.UTC(),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kid":"k","purpose":"access","algorithm":"ES256","state":"next","created":"2027-01-15T08:00:00Z"}`
	if string(data) != want {
		t.Errorf("JSON = %s, want %s", data, want)
	}
}

// FuzzNoVerbShowsKeyMaterial tries formats beyond the list of verbs.
func FuzzNoVerbShowsKeyMaterial(f *testing.F) {
	store := &memStore{}
	cfg := config(f, store)
	ring := open(f, cfg)
	secrets := append([][]byte{kek(1)}, ring.Keys("csrf")...)
	for _, verb := range verbs {
		f.Add(verb)
	}
	f.Add("%[1]*.[1]*[1]x %+-#0 20.10v %!")
	f.Fuzz(func(t *testing.T, format string) {
		for _, v := range []any{ring, ring.Snapshot(), cfg, cfg.Sealer, keyring.KEK(kek(1)), ring.List()} {
			text := fmt.Sprintf(format, v)
			for i, secret := range secrets {
				if shows(text, secret) {
					t.Errorf("%T under %q shows secret %d", v, format, i)
				}
			}
		}
	})
}

// TestPublicTypesHoldNoBytes checks that the types that describe keys cannot hold key material.
func TestPublicTypesHoldNoBytes(t *testing.T) {
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Struct:
			if typ == reflect.TypeFor[time.Time]() {
				return
			}
			for i := range typ.NumField() {
				walk(path+"."+typ.Field(i).Name, typ.Field(i).Type)
			}
		case reflect.Slice:
			if typ.Elem().Kind() == reflect.Uint8 {
				t.Errorf("%s has bytes", path)
			}
			walk(path+"[]", typ.Elem())
		case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan:
			t.Errorf("%s is a %s, through which key material could be reached", path, typ.Kind())
		case reflect.Interface:
			if typ != reflect.TypeFor[error]() {
				t.Errorf("%s is any %s", path, typ)
			}
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[lifecycle.KeyInfo](), reflect.TypeFor[lifecycle.Change](), reflect.TypeFor[lifecycle.Rotation](),
		reflect.TypeFor[keyring.Compromised](), reflect.TypeFor[keyring.Status](),
	} {
		walk(typ.Name(), typ)
	}
}
