package session

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
)

// full sets every field of a record, so that one that is added later cannot be forgotten here.
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

func TestAScanReadsEveryMember(t *testing.T) {
	var session Session
	full(t, &session)
	data, err := json.Marshal(&session)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := scanSession(data); !ok || !reflect.DeepEqual(got, &session) {
		t.Errorf("scanned %v\n%+v\nwant\n%+v", ok, got, session)
	}
	var user User
	full(t, &user)
	if data, err = json.Marshal(&user); err != nil {
		t.Fatal(err)
	}
	if got, ok := scanUser(data); !ok || !reflect.DeepEqual(got, &user) {
		t.Errorf("scanned %v\n%+v\nwant\n%+v", ok, got, user)
	}
	for _, small := range []string{
		`{"v":1,"uid":"u","created_at":1}`, `{"v":1,"uid":"u","attributes":{},"created_at":1}`,
	} {
		if _, ok := scanUser([]byte(small)); !ok {
			t.Errorf("not scanned: %s", small)
		}
	}
}

// TestASessionIsWrittenAsByEncodingJSON compares with the simple twin, whatever a field holds.
func TestASessionIsWrittenAsByEncodingJSON(t *testing.T) {
	same := func(s Session) bool {
		want, wantErr := json.Marshal(s)
		got, err := s.Encode()
		return (err == nil) == (wantErr == nil) && bytes.Equal(got, want)
	}
	if err := quick.Check(same, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
	var s Session
	full(t, &s)
	for _, text := range []string{"", "plain", `quo"te`, `back\slash`, "<&>", "\x7f", "\x00\n\t", "\u2028", "bad \xff"} {
		s.Device, s.AMR = text, []string{text, text}
		if !same(s) {
			t.Errorf("%q is written otherwise", text)
		}
	}
}

// FuzzScan: what a scan takes, encoding/json reads alike.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"uid":"u","sid":"s","channel":"cookie","client_id":"c","gen":1,"secret_hash":"AAE=","sep":0,"cep":0,"auth_time":1,"created_at":1,"last_used":1,"token_exp":1}`,
		`{"v":1,"uid":"u","attributes":{"a":-0,"a":[1,2,{"b":null}],"c":1e3},"roles":["r"],"disabled":true,"accounts":[{"iss":"i","sub":"s"}],"created_at":1}`,
		`{"v":1,"uid":"` + "\xff" + `","created_at":01}`, `{"v":1}`, `{}`, ``, `{"v":1,"uid":"u","created_at":1}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, ok := scanSession(data); ok {
			var want Session
			if err := decode(data, &want, &want.V); err != nil || !reflect.DeepEqual(got, &want) {
				t.Errorf("scanned %+v, want %+v, %v", got, want, err)
			}
		}
		if got, ok := scanUser(data); ok {
			var want User
			if err := decode(data, &want, &want.V); err != nil || !reflect.DeepEqual(got, &want) {
				t.Errorf("scanned %+v, want %+v, %v", got, want, err)
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
	b.Run("encode-encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&s); err != nil {
				b.Fatal(err)
			}
		}
	})
}
