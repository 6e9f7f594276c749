package customclaims_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker/credential"
	"tokenbroker/broker/customclaims"
)

// input is a user whose attributes were decoded from JSON as the store does it.
func input(t testing.TB, attributes string) credential.ClaimsInput {
	t.Helper()
	in := customclaims.Sample()
	in.User.Attributes = nil
	if err := json.Unmarshal([]byte(attributes), &in.User.Attributes); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestComputedClaims(t *testing.T) {
	in := input(t, `{"tenant":"acme","level":3,"rate":1.5,"big":9007199254740993,"tags":["b","a"],"deep":{"x":[1,{"y":null}]},"no":null}`)
	for expression, want := range map[string]string{
		`user.attributes.tenant`:                                   `"acme"`,
		`user.id + "@" + identity.provider`:                        `"01987c1e-5a00-7000-8000-000000000001@cognito"`,
		`"admins" in user.groups`:                                  `true`,
		`user.roles + user.groups`:                                 `["editor","staff","admins"]`,
		`user.attributes.level`:                                    `3`,
		`user.attributes.level > 2`:                                `true`,
		`user.attributes.level + 1.0`:                              `4`,
		`int(user.attributes.level) * 2`:                           `6`,
		`user.attributes.rate`:                                     `1.5`,
		`18446744073709551615u`:                                    `18446744073709551615`,
		`9223372036854775807`:                                      `9223372036854775807`,
		`-0.0`:                                                     `0`,
		`user.attributes.deep`:                                     `{"x":[1,{"y":null}]}`,
		`{"n": [1, "a", null, true], "m": {}}`:                     `{"m":{},"n":[1,"a",null,true]}`,
		`dyn(user.groups).map(g, string(g)).sort().join("-")`:      `"admins-staff"`,
		`user.username.replace("a", "oo")`:                         `"oodoo"`,
		`user.attributes.tenant.split("c")[0].upperAscii()`:        `"A"`,
		`session.auth_time`:                                        `"2026-02-01T03:04:05Z"`,
		`int(session.auth_time)`:                                   `1769915045`,
		`session.auth_time - user.created_at > duration("24h")`:    `true`,
		`session.acr.endsWith("password") && "pwd" in session.amr`: `true`,
		`client.id.upperAscii()`:                                   `"SPA"`,
		`sets.intersects(user.groups, ["admins", "ops"])`:          `true`,
		`has(user.attributes.x) ? user.attributes.x : "none"`:      `"none"`,
		`[]`:                    `[]`,
		`null`:                  `absent`,
		`user.attributes.no`:    `absent`,
		`user.id == "" ? 1 : 2`: `2`,
		`user.last_login.getFullYear() == 2026 ? "active" : "new"`: `"active"`,
	} {
		t.Run(expression, func(t *testing.T) {
			claims, err := newSet(t, customclaims.Config{Computed: map[string]string{"c": expression}}).Claims(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			got := "absent"
			if value, ok := claims["c"]; ok {
				encoded, err := json.Marshal(value)
				if err != nil {
					t.Fatal(err)
				}
				got = string(encoded)
			}
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

func TestErrorsDoNotQuoteAttributes(t *testing.T) {
	const secret = "s3cret-value"
	in := input(t, `{"a":"`+secret+`","m":{"x":1},"n":[1,2,3,4,5,6,7,8,9,10]}`)
	for name, test := range map[string]struct {
		expression string
		want       error
	}{
		"a missing attribute":           {`user.attributes.missing`, customclaims.ErrMissing},
		"a missing key that is a value": {`user.attributes.m[user.attributes.a]`, customclaims.ErrMissing},
		"text that is not a number":     {`int(user.attributes.a)`, customclaims.ErrEvaluation},
		"text that is not a time":       {`timestamp(user.attributes.a)`, customclaims.ErrEvaluation},
		"a regular expression":          {`"x".matches("(" + user.attributes.a)`, customclaims.ErrEvaluation},
		"operands of different types":   {`user.attributes.a + 1`, customclaims.ErrEvaluation},
		"division by zero":              {`1 / (user.attributes.n.size() - 10)`, customclaims.ErrEvaluation},
		"infinity":                      {`1.0 / 0.0`, customclaims.ErrNotJSON},
		"bytes behind dyn":              {`dyn(bytes(user.attributes.a))`, customclaims.ErrNotJSON},
		"a key that is not text":        {`{dyn(1): user.attributes.a}`, customclaims.ErrNotJSON},
		"a long text":                   {`[user.attributes.a].map(x, x+x+x+x+x+x+x+x).map(x, x+x+x+x+x+x+x+x).map(x, x+x+x+x+x+x+x+x+x+x+x+x+x)`, customclaims.ErrTooLarge},
		"loops in loops":                {`user.attributes.n.all(a, user.attributes.n.all(b, user.attributes.n.all(c, user.attributes.n.all(d, d > 0.0 && "x" != "y"))))`, customclaims.ErrCost},
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet(t, customclaims.Config{Computed: map[string]string{"culprit": test.expression, "fine": "1"}})
			claims, err := set.Claims(t.Context(), in)
			if !errors.Is(err, test.want) || claims != nil {
				t.Fatalf("%v, %v; want %v", claims, err, test.want)
			}
			if !strings.Contains(err.Error(), `"culprit"`) || strings.Contains(err.Error(), secret) {
				t.Errorf("the error must name the claim and no value: %v", err)
			}
		})
	}
}

func TestAttributesAndSwitches(t *testing.T) {
	in := input(t, `{"email":"ada@example.org","secret":"x","level":2,"nothing":null,"a":{"b":1}}`)
	set := newSet(t, customclaims.Config{
		Attributes: []string{"email", "level", "nothing", "absent", "a.b"}, Roles: true, Groups: true,
	})
	got, err := set.Claims(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"email": "ada@example.org", "level": 2.0,
		"roles": []string{"editor"}, "groups": []string{"staff", "admins"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	in.User.Roles, in.User.Groups, in.User.Attributes = nil, nil, nil
	if got, err = set.Claims(t.Context(), in); err != nil || len(got) != 0 {
		t.Errorf("a user who has nothing: %v, %v", got, err)
	}
}

// Attributes may have types that JSON decoding does not produce: a provider's first login passes them unchanged.
func TestNumbersOfOtherKinds(t *testing.T) {
	in := customclaims.Sample()
	in.User.Attributes = map[string]any{
		"big": json.Number("9007199254740993"), "whole": json.Number("3.0"), "int": 7,
		"list": []any{json.Number("1"), []string{"x"}}, "never": json.Number("1e999"),
	}
	set := newSet(t, customclaims.Config{
		Attributes: []string{"big", "whole", "int", "list"},
		Computed:   map[string]string{"sum": "user.attributes.whole + user.attributes.big * 0.0 + user.attributes.list[0]"},
	})
	if _, err := set.Claims(t.Context(), in); !errors.Is(err, customclaims.ErrNotJSON) {
		t.Errorf("a number out of range: %v", err)
	}
	delete(in.User.Attributes, "never")
	claims, err := set.Claims(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"big":9007199254740993,"int":7,"list":[1,["x"]],"sum":4,"whole":3}`; string(encoded) != want {
		t.Errorf("%s, want %s", encoded, want)
	}
	in.User.Attributes["int"] = math.Inf(1)
	if _, err := set.Claims(t.Context(), in); !errors.Is(err, customclaims.ErrNotJSON) {
		t.Errorf("infinity: %v", err)
	}
}

func TestSizeOfAllClaimsIsLimited(t *testing.T) {
	in := customclaims.Sample()
	set := newSet(t, customclaims.Config{Attributes: []string{"a", "b"}})
	in.User.Attributes = map[string]any{"a": strings.Repeat("x", 4000), "b": strings.Repeat("y", 4000)}
	if _, err := set.Claims(t.Context(), in); err != nil {
		t.Errorf("just below 8 KiB: %v", err)
	}
	in.User.Attributes["b"] = strings.Repeat("\x01", 2000)
	if _, err := set.Claims(t.Context(), in); !errors.Is(err, customclaims.ErrTooLarge) {
		t.Errorf("the size counts the escaped JSON: %v", err)
	}
}

func TestCanceledContextEndsEvaluation(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	set := newSet(t, customclaims.Config{Computed: map[string]string{"c": `lists.range(1000).all(x, x >= 0)`}})
	if _, err := set.Claims(ctx, customclaims.Sample()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestUserObject(t *testing.T) {
	user := customclaims.Sample().User
	set := newSet(t, customclaims.Config{UserObject: []string{"id", "username", "roles", "groups", "email", "absent", "email_verified", "local"}})
	want := map[string]any{
		"id": user.ID, "username": "ada", "roles": []string{"editor"}, "groups": []string{"staff", "admins"},
		"email": "ada@example.org", "email_verified": true, "local": false,
	}
	if diff := cmp.Diff(want, set.UserObject(user)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	bare := credential.ClaimsUser{ID: "u", Attributes: map[string]any{"username": "a forged one", "email": nil, "local": "forged"}, Local: true}
	if diff := cmp.Diff(map[string]any{"id": "u", "local": true}, set.UserObject(bare)); diff != "" {
		t.Errorf("members that the user does not have must be omitted; -want +got:\n%s", diff)
	}
	if object := newSet(t, customclaims.Config{}).UserObject(user); object != nil {
		t.Errorf("an empty list: %v", object)
	}
}

func TestConcurrentUse(t *testing.T) {
	set := newSet(t, customclaims.Config{Attributes: []string{"email"}, Roles: true, Computed: map[string]string{
		"tenant": `user.attributes["custom:tenant"]`, "groups_in": `user.groups.filter(g, g.matches("^a")).map(g, g + "!")`,
	}})
	in := customclaims.Sample()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				claims, err := set.Claims(t.Context(), in)
				if err != nil || claims["tenant"] != "acme" {
					t.Errorf("%v, %v", claims, err)
					return
				}
				set.UserObject(in.User)
			}
		})
	}
	wg.Wait()
}

func TestTryReportsFailuresForTheSampleUser(t *testing.T) {
	set := newSet(t, customclaims.Config{Computed: map[string]string{
		"a": `user.attributes.tenant`, "b": `1 + user.attributes.nickname.size()`, "c": `user.attributes["custom:tenant"]`,
		"d": `lists.range(1000).map(x, string(x) + "0123456789")`,
	}})
	problems := problemsOf(t, set.Try(t.Context()))
	if len(problems) != 3 {
		t.Fatalf("%+v", problems)
	}
	for i, want := range []struct{ key, message, hint string }{
		{"claims.computed.a", "no such key: tenant", "has(user.attributes.x)"},
		{"claims.computed.b", "line 1, column ", "has(user.attributes.x)"},
		{"claims.computed.d", "8 KiB", "smaller"},
	} {
		if p := problems[i]; p.Key != want.key || !strings.Contains(p.Message, want.message) || !strings.Contains(p.Hint, want.hint) {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	half := `lists.range(500).map(x, "01234567")`
	set = newSet(t, customclaims.Config{Computed: map[string]string{"a": half, "b": half}})
	if p := problemsOf(t, set.Try(t.Context())); len(p) != 1 || p[0].Key != "claims" {
		t.Errorf("two claims that are too large together: %+v", p)
	}
}
