package oauth

import (
	"encoding/json"
	"testing"
)

// FuzzPlainIntrospection compares plainIntrospection with encoding/json on well-formed claims.
func FuzzPlainIntrospection(f *testing.F) {
	for _, claims := range []string{
		`{"iss":"http://b","sub":"u","aud":["a","b"],"exp":1,"iat":-2,"jti":"j","client_id":"c","sid":"s","scope":"a b","roles":["x"],"sep":1,"cep":0}`,
		`{}`, `{"username":{"a":1}}`, `{"username":"ada","deep":{"sub":"x","l":[{"y":"}"}]},"sub":"y"}`, `{"sub":null}`, `{"sub":"a\"b"}`, `{ "sub":"a"}`,
		`{"sub":"é"}`, "{\"sub\":\"\u2028\"}", `{"sub":"<"}`, `{"sub":"a","sub":"b"}`, `{"aud":true,"exp":1e9}`, `[]`, `"x"`,
	} {
		f.Add([]byte(claims))
	}
	f.Fuzz(func(t *testing.T, claims []byte) {
		var exact map[string]json.RawMessage
		if json.Unmarshal(claims, &exact) != nil {
			t.Skip("the verifier returns only JSON objects")
		}
		got, _, ok := plainIntrospection(string(claims))
		if !ok {
			return
		}
		want := introspection{Active: true, TokenType: "Bearer"}
		shown := map[string]json.RawMessage{}
		for _, name := range shownClaims { // exact names only: encoding/json also matches "SUB"
			if v, ok := exact[name]; ok {
				shown[name] = v
			}
		}
		data, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &want.introspected); err != nil {
			t.Fatal(err)
		}
		if data, err = json.Marshal(want); err != nil || string(data) != string(got) {
			t.Errorf("%s\ngot  %s\nwant %s, %v", claims, got, data, err)
		}
	})
}

// signedClaims are claims as the broker signs them.
const signedClaims = `{"iss":"http://localhost:8080","sub":"mfrggzdfmztwq2lknnwg23tpoa","aud":["a"],"exp":1764412345,"iat":1764412345,"nbf":1764412345,` +
	`"jti":"019b1d3c-0000-7000-8000-000000000000","client_id":"demo-spa","sid":"mfrggzdfmztwq2lknnwg23tpob","scope":"hello:read",` +
	`"auth_time":1764412345,"acr":"1","amr":["pwd"],"sep":0,"cep":0,"groups":["x","y"],"team":{"a":[1,2]}}`

func TestSignedClaimsArePlain(t *testing.T) {
	if _, _, ok := plainIntrospection(signedClaims); !ok {
		t.Error("the claims are encoded by encoding/json")
	}
}

func BenchmarkIntrospection(b *testing.B) {
	claims := []byte(signedClaims)
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, ok := plainIntrospection(string(claims)); !ok {
				b.Fatal("not plain")
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			answer := introspection{Active: true, TokenType: "Bearer"}
			if err := json.Unmarshal(claims, &answer.introspected); err != nil {
				b.Fatal(err)
			}
			if _, err := json.Marshal(answer); err != nil {
				b.Fatal(err)
			}
		}
	})
}
