package customclaims_test

import (
	"encoding/json"
	"testing"
	"time"

	"tokenbroker/broker/customclaims"
)

// FuzzExpression: no text makes New panic, and whatever compiles comes to an end soon, with an error
// or with claims that are JSON.
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
		set, err := customclaims.New(customclaims.Config{Computed: map[string]string{"c": expression}})
		if err != nil {
			return
		}
		start := time.Now()
		claims, err := set.Claims(t.Context(), in)
		if took := time.Since(start); took > 20*time.Second { // on a machine that has no time, either
			t.Errorf("took %s", took)
		}
		if err != nil {
			return
		}
		if _, err := json.Marshal(claims); err != nil {
			t.Errorf("claims that are no JSON: %v", err)
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
