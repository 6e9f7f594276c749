package customclaims_test

import (
	"encoding/json"
	"testing"

	"tokenbroker/broker/customclaims"
)

// FuzzExpression: no text makes New panic, and an expression that compiles ends within a bounded number of steps,
// with an error or with claims that are JSON.
func FuzzExpression(f *testing.F) {
	for _, seed := range []string{
		`user.attributes.email`, `"admins" in user.groups ? 1 : 2.5`, `[1,2].all(x, [1,2].exists(y, x == y))`,
		`["x"].map(x, x+x).map(x, x+x)`, `user.roles.map(r, {"r": r})`, `"%d".format([1])`, `session.auth_time - user.created_at`,
		`lists.range(1000).map(x, lists.range(1000))`, `"a".matches("(a*)*")`, `timestamp("x")`, `((((`, "\x00", `{1:2}`, `b"\xff"`,
		`tokenbroker.User{id: "x"}.id`, `type(user)`, `"x".replace("", "yy", -1)`, `[[1]].flatten(-1)`, `"x".substring(-1)`,
		`sets.contains([1], [1])`, `dyn([1]).slice(0, 9)`, `int("9223372036854775807") + 1`, `duration("1h")`, `has(user.attributes.x)`,
	} {
		f.Add(seed)
	}
	for _, bomb := range bombs() {
		f.Add(bomb)
	}
	in := customclaims.Sample()
	f.Fuzz(func(t *testing.T, expression string) {
		set, work, err := customclaims.NewMeasured(expression)
		if err != nil {
			return
		}
		claims, err := set.Claims(t.Context(), in)
		if work.Steps() > customclaims.MaxMeasured {
			t.Errorf("more than %d steps", customclaims.MaxMeasured)
		}
		if err != nil {
			return
		}
		if _, err := json.Marshal(claims); err != nil {
			t.Errorf("claims that are not JSON: %v", err)
		}
	})
}

func BenchmarkClaims(b *testing.B) {
	set := newSet(b, customclaims.Config{
		Attributes: []string{"email", "locale"},
		Computed: map[string]string{
			"tenant": `"custom:tenant" in user.attributes ? user.attributes["custom:tenant"] : "none"`,
			"admin":  `"admins" in user.groups`,
		},
	})
	in := customclaims.Sample()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.Claims(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
