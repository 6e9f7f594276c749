package api

import (
	"encoding/json"
	"testing"
)

// FuzzScanIntrospection compares with encoding/json on well-formed claims.
func FuzzScanIntrospection(f *testing.F) {
	for _, claims := range []string{
		`{"iss":"http://b","sub":"u","aud":["a","b"],"exp":1,"iat":-2,"jti":"j","client_id":"c","sid":"s","scope":"a b","roles":["x"],"sep":1,"cep":0}`,
		`{}`, `{"username":{"a":1}}`, `{"username":"ada","deep":{"sub":"x","l":[{"y":"}"}]},"sub":"y"}`, `{"sub":null}`, `{"sub":"a\"b"}`, `{ "sub":"a"}`,
		`{"sub":"é"}`, `{"sub":"<"}`, `{"sub":"a","sub":"b"}`, `{"aud":true,"exp":1e9}`, `[]`, `"x"`,
	} {
		f.Add([]byte(claims))
	}
	f.Fuzz(func(t *testing.T, claims []byte) {
		var exact map[string]json.RawMessage
		if json.Unmarshal(claims, &exact) != nil {
			t.Skip("the verifier gives JSON objects alone")
		}
		got, ok := scanIntrospection(claims)
		if !ok {
			return
		}
		want := introspection{Active: true, TokenType: "Bearer"}
		shown := map[string]json.RawMessage{}
		for _, name := range shownClaims { // and not what encoding/json takes for one of them, as "SUB"
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
			t.Errorf("%s\nscanned %s\nwant    %s, %v", claims, got, data, err)
		}
	})
}

func TestAScanTakesWhatTheBrokerSigns(t *testing.T) {
	const claims = `{"iss":"http://b","sub":"u","aud":["a"],"exp":2,"iat":1,"nbf":1,"jti":"j","client_id":"c","sid":"s","scope":"a b",` +
		`"auth_time":1,"acr":"1","amr":["pwd"],"sep":0,"cep":0,"groups":["x","y"],"team":{"a":[1,2]}}`
	if _, ok := scanIntrospection([]byte(claims)); !ok {
		t.Error("not scanned")
	}
}
