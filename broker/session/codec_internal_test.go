package session

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
)

// full sets every field of a record, so that a field that is added later is also tested.
func full(t *testing.T, record any) {
	t.Helper()
	v := reflect.ValueOf(record).Elem()
	for i := range v.NumField() {
		switch f, name := v.Field(i), v.Type().Field(i).Name; f.Interface().(type) {
		case string, Channel:
			f.SetString(strings.ToLower(name) + " é 世界")
		case int, int64:
			f.SetInt(int64(i) + 1)
		case uint32:
			f.SetUint(uint64(i) + 1)
		case bool:
			f.SetBool(true)
		case []byte:
			f.SetBytes([]byte{0, 1, 2, 255})
		case []string:
			f.Set(reflect.ValueOf([]string{"one", "", "3"}))
		case []int64:
			f.Set(reflect.ValueOf([]int64{3, -2, 0}))
		case []Account:
			f.Set(reflect.ValueOf([]Account{{Issuer: "i", Subject: "s"}, {}}))
		case []Consent:
			f.Set(reflect.ValueOf([]Consent{{ClientID: "c", Scopes: []string{"openid", "a:b"}, At: 1}, {Scopes: []string{}}}))
		case map[string]any:
			f.Set(reflect.ValueOf(map[string]any{
				"email": "ada@example.com", "n": json.Number("-12345678901234567890"), "yes": true, "no": false, "none": nil,
				"list": []any{"a", json.Number("0"), []any{}}, "empty": map[string]any{}, "deep": map[string]any{"er": []any{map[string]any{"a": "b"}}},
			}))
		case *End:
		default:
			t.Fatalf("this test does not know how to fill %s", name)
		}
	}
	v.FieldByName("V").SetInt(recordVersion)
}

// TestPlainRecordsAreReadWithoutEncodingJSON fills every field, so that a field of a new type
// is also tested.
func TestPlainRecordsAreReadWithoutEncodingJSON(t *testing.T) {
	var session Session
	full(t, &session)
	checkPlain(t, &session, sessionFields)
	var user User
	full(t, &user)
	checkPlain(t, &user, userFields)
	checkPlain(t, &User{V: recordVersion, UID: "u", CreatedAt: 1}, userFields)
}

func checkPlain[T any](t *testing.T, record *T, names []string) {
	t.Helper()
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if got := new(T); !decodePlain(data, got, names) || !reflect.DeepEqual(got, record) {
		t.Errorf("%s is read as\n%+v\nwant\n%+v", data, got, record)
	}
}

// TestSessionIsReadAsByEncodingJSON writes and reads sessions with random fields.
func TestSessionIsReadAsByEncodingJSON(t *testing.T) {
	same := func(s Session) bool {
		s.V = recordVersion
		data, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		var want Session
		if err := decode(data, &want, &want.V); err != nil {
			t.Fatal(err)
		}
		got, err := DecodeSession(data)
		return err == nil && reflect.DeepEqual(got, &want)
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	var s Session
	full(t, &s)
	for _, text := range []string{"", "plain", `quo"te`, `back\slash`, "<&>", "\x7f", "\x00\n\t", "\u2028", "bad \xff"} {
		s.Device, s.AMR = text, []string{text, text}
		if !same(s) {
			t.Errorf("a session with %q is read differently", text)
		}
	}
}

// FuzzDecodePlain compares decodePlain with encoding/json.
func FuzzDecodePlain(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"uid":"u","sid":"s","channel":"cookie","client_id":"c","gen":1,"secret_hash":"AAE=","sep":0,"cep":0,"auth_time":1,"created_at":1,"last_used":1,"token_exp":1}`,
		`{"v":1,"uid":"u","attributes":{"a":-0,"a":[1,2,{"b":null}],"c":1e3},"roles":["r"],"disabled":true,"accounts":[{"iss":"i","sub":"s"}],"created_at":1}`,
		`{"v":1,"uid":"` + "\xff" + `","created_at":01}`, `{"v":1}`, `{}`, ``, `{"v":1,"uid":"u","created_at":1}{}`, `{"v":1,"secret_hash":"","sep":0}`, `{"v":1,"amr":[]}`,
		`{"v":1,"accounts":[{},{"sub":"s"}]}`, `{"v":1,"ended":{"reason":"r","at":1}}`, `{"v":1,"ended":}`, `{"v":1,"ended":null}`, `{"v":4294967297}`, `{"v":1,"secret_hash":"A"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := new(Session); decodePlain(data, got, sessionFields) && got.V == recordVersion {
			var want Session
			if err := decode(data, &want, &want.V); err != nil || !reflect.DeepEqual(got, &want) {
				t.Errorf("%s is read as %+v, want %+v, %v", data, got, want, err)
			}
		}
		if got := new(User); decodePlain(data, got, userFields) && got.V == recordVersion {
			var want User
			if err := decode(data, &want, &want.V); err != nil || !reflect.DeepEqual(got, &want) {
				t.Errorf("%s is read as %+v, want %+v, %v", data, got, want, err)
			}
		}
	})
}

func BenchmarkSessionRecord(b *testing.B) {
	s := Session{
		V: 1, UID: "mfrggzdfmztwq2lknnwg23tpoa", SID: "mfrggzdfmztwq2lknnwg23tpob", Channel: ChannelCookie, ClientID: "demo-spa", Scope: "hello:read",
		Generation: 9, RotationsMS: []int64{1764412345678, 1764412045678, 1764411745678, 1764411445678, 1764411145678}, SecretHash: make([]byte, 32),
		SEP: 1764412345678, CEP: 1764412345678, AuthTime: 1764412345, ACR: "1", AMR: []string{"pwd"}, Device: "Mozilla/5.0 (X11; Linux x86_64)",
		CreatedAt: 1764412345, LastUsed: 1764412345, TokenExp: 1764412645, SIDExpires: 1764419999,
		Source: NewSource(make([]byte, 16), "192.0.2.1", "Mozilla/5.0 (X11; Linux x86_64)"),
	}
	data, err := s.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeSession(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode-encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var s Session
			if err := decode(data, &s, &s.V); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
