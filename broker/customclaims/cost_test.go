package customclaims_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"tokenbroker/broker/customclaims"
)

// bombs are expressions that would take seconds, years or all memory, each accepted by New.
func bombs() map[string]string {
	const range1000 = `lists.range(1000)`
	times := func(n int, seed, step, end string) string { return seed + strings.Repeat(step, n) + end }
	wide := func(n int) string { return strings.TrimSuffix(strings.Repeat("a,", n), ",") }
	sum := func(n int, part string) string { return strings.TrimSuffix(strings.Repeat(part+"+", n), "+") }
	return map[string]string{
		"nested loops":                range1000 + `.all(a, ` + range1000 + `.all(b, ` + range1000 + `.all(c, true)))`,
		"doubling text":               times(8, `["xxxxxxxxxxxxxxxx"]`, `.map(x, x+x+x+x+x+x+x+x)`, ``),
		"doubling lists":              times(8, `[[1]]`, `.map(a, `+sum(16, "a")+`)`, ``),
		"doubling lists, compared":    times(7, `[[1]]`, `.map(a, `+sum(16, "a")+`)`, `.map(z, z == z)`),
		"doubling empty lists":        times(7, `[[]]`, `.map(a, `+sum(64, "a")+`)`, `.map(z, z == z)`),
		"sharing, compared":           times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, z == z)`),
		"sharing, unequal":            times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, z != z)`),
		"sharing, found":              times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, z in [z])`),
		"sharing, found behind dyn":   times(7, `[dyn(1)]`, `.map(a, dyn([`+wide(50)+`]))`, `.map(z, z in dyn([z]))`),
		"sharing in maps":             times(7, `[1]`, `.map(a, {"a": a, "b": a, "c": a, "d": a, "e": a, "f": a, "g": a, "h": a, "i": a})`, `.map(z, z == z)`),
		"sharing, as a set":           times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, sets.contains([z], [z]))`),
		"sharing, equivalent":         times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, sets.equivalent([z, z], [z, z]))`),
		"sharing, intersecting":       times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, sets.intersects([z], [z]))`),
		"sharing, distinct":           times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, [z, z].distinct())`),
		"sharing, flattened":          times(7, `[1]`, `.map(a, [`+wide(50)+`])`, `.map(z, [z].flatten(9))`),
		"sharing, returned":           times(8, `[1]`, `.map(a, [`+wide(50)+`])`, ``),
		"replacing":                   times(8, `["abcdefgh"]`, `.map(x, x.replace("", x))`, ``),
		"joining":                     times(4, `["ab"]`, `.map(x, `+range1000+`.map(i, x).join(x))`, ``),
		"a large regex":               range1000 + `.map(i, "a").join().matches("(a?){500}" + user.id)`,
		"a regex on a long text":      times(5, `["aaaaaaaaaaaaaaaa"]`, `.map(x, x+x+x+x)`, `.map(x, x.matches("(a?){30}" + "(b|a)*c"))`),
		"a larger regex on longer":    times(5, `["aaaaaaaaaaaaaaaa"]`, `.map(x, x+x+x+x)`, `.map(x, x+x).map(x, x.matches("(a?){35}" + "c"))`),
		"a regex on half a long text": times(5, `["aaaaaaaaaaaaaaaa"]`, `.map(x, x+x+x+x)`, `.map(x, x.matches("(a?){35}" + "c"))`),
		"a regex in a loop":           times(3, `["aaaaaaaaaaaaaaaa"]`, `.map(x, x+x+x+x)`, `.map(x, `+range1000+`.exists(i, x.matches("(a?){35}c")))`),
		"flattening":                  times(8, `[[1, 1]]`, `.map(x, [`+strings.TrimSuffix(strings.Repeat("x,", 50), ",")+`].flatten())`, ``),
		"distinct in a loop":          range1000 + `.all(a, ` + range1000 + `.distinct().size() > 0)`,
		"distinct, no loop":           `(` + sum(80, range1000) + `).distinct().size()`,
		"sets, no loop":               `sets.contains(` + sum(40, range1000) + `, ` + sum(40, range1000) + `)`,
		"sorting, no loop":            `(` + sum(80, range1000) + `).sort().size()`,
		"comparing in a loop":         times(2, `[1]`, `.map(a, [`+wide(100)+`])`, `.all(z, `+range1000+`.all(i, z == z))`),
		"errors that are caught":      times(6, `[1]`, `.map(a, [`+wide(50)+`])`, `.all(z, `+range1000+`.all(i, z == z || true))`),
		"a variable in loops":         range1000 + `.all(a, user == user)`,
		"a variable in a list":        range1000 + `.all(a, [user] == [user])`,
		"attributes in loops":         range1000 + `.all(a, ` + range1000 + `.all(b, user.attributes == user.attributes))`,
	}
}

// TestExpensiveExpressionsAreStopped bounds the real work of an expression, independently of the
// costs in CEL. The clock of a synctest bubble does not advance while an expression runs, so the
// time limit does not apply here.
func TestExpensiveExpressionsAreStopped(t *testing.T) {
	for name, expression := range bombs() {
		t.Run(name, func(t *testing.T) {
			set, work, err := customclaims.NewMeasured(expression)
			if err != nil {
				t.Fatalf("refused before it runs: %v", err)
			}
			synctest.Test(t, func(t *testing.T) {
				_, err = set.Claims(t.Context(), customclaims.Sample())
			})
			t.Logf("%d steps: %v", work.Steps(), err)
			if err != nil && !errors.Is(err, customclaims.ErrCost) && !errors.Is(err, customclaims.ErrTooLarge) && !errors.Is(err, customclaims.ErrEvaluation) {
				t.Errorf("cut by something else: %v", err)
			}
			if work.Steps() > customclaims.MaxMeasured {
				t.Errorf("more than %d steps", customclaims.MaxMeasured)
			}
		})
	}
}

// TestNewRefusesComplexExpressions checks that expressions that multiply values too often are not
// run.
func TestNewRefusesComplexExpressions(t *testing.T) {
	for name, test := range map[string]struct{ expression, message string }{
		"22 doublings":     {`[[1]]` + strings.Repeat(`.map(a, a+a)`, 22) + `.map(z, z==z)`, "has 23 loops"},
		"24 pairs":         {`[1]` + strings.Repeat(`.map(a, [a,a])`, 24) + `.map(z, z==z)`, "has 25 loops"},
		"nine loops":       {strings.Repeat(`[1].all(a, true) && `, 8) + `[1].exists(a, true)`, "has 9 loops"},
		"five nested":      {`[1].all(a, [1].all(b, [1].map(c, [1].filter(d, [1].exists_one(e, true))) == []))`, "nests 5 loops"},
		"257 elements":     {`[` + strings.TrimSuffix(strings.Repeat("1,", 257), ",") + `]`, "of 257 elements"},
		"257 in arguments": {`user.id in [` + strings.TrimSuffix(strings.Repeat("'1',", 257), ",") + `]`, "of 257 elements"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := customclaims.New(customclaims.Config{Computed: map[string]string{"c": test.expression}})
			p := problemsOf(t, err)[0]
			if p.Key != "claims.computed.c" || !strings.Contains(p.Message, test.message) || p.Hint == "" {
				t.Errorf("%+v; want …%s…", p, test.message)
			}
		})
	}
	for name, expression := range map[string]string{
		"eight loops":  strings.Repeat(`[1].all(a, true) && `, 7) + `[1].exists(a, true)`,
		"four nested":  `[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))`,
		"256 elements": `size([` + strings.TrimSuffix(strings.Repeat("1,", 256), ",") + `])`,
	} {
		set := newSet(t, customclaims.Config{Computed: map[string]string{"c": expression}})
		if _, err := set.Claims(t.Context(), customclaims.Sample()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWorkLimitsDoNotChangeResults compares results with those of CEL without the work limits.
func TestWorkLimitsDoNotChangeResults(t *testing.T) {
	in := input(t, `{"a":[1,[2,{"x":"y"}]],"b":[1,[2,{"x":"y"}]],"c":{"k":[1]},"n":1,"t":"x"}`)
	for _, expression := range []string{
		`user.attributes.a == user.attributes.b`, `user.attributes.a != user.attributes.c`, `!(user.attributes.a == user.attributes.c)`,
		`user.id.matches("^[a-z0-9-]{1,63}$")`, `user.attributes.n == 1`, `user.attributes.n != user.attributes.t`, `user.attributes.c == {"k": [1]}`,
		`user.attributes.a[1] in user.attributes.b`, `!([3] in [[1], [2]])`, `user.attributes.t in ["x", "y"]`,
		`user.attributes.t in dyn({"x": 1})`, `dyn(user.attributes.n) in [1, 2]`, `user.attributes.a in [user.attributes.b]`,
		`[1, 1, 2].distinct() == [1, 2]`, `[[1], [1]].distinct() == [[1]]`, `[3, 1, 2].sort() == [1, 2, 3]`,
		`["bb", "a"].sortBy(x, size(x)) == ["a", "bb"]`, `[[1, [2]], [3]].flatten() == [1, [2], 3]`, `[[1, [2]], [3]].flatten(2) == [1, 2, 3]`,
		`sets.contains([1, 2], [2]) && !sets.contains([1], [2])`, `sets.equivalent([1, 2, 1], [2, 1])`, `sets.intersects([[1]], [[2], [1]])`,
		`lists.range(120).map(x, x + 1).filter(x, x % 2 == 0).size() == 60`,
		`lists.range(70).distinct().size() == 70`, `user.roles + user.groups == ["editor", "staff", "admins"]`,
	} {
		t.Run(expression, func(t *testing.T) {
			set, err := customclaims.New(customclaims.Config{Computed: map[string]string{"c": expression}})
			if err != nil {
				t.Fatal(err)
			}
			claims, err := set.Claims(t.Context(), in)
			if err != nil || claims["c"] != true {
				t.Errorf("%v, %v", claims, err)
			}
		})
	}
}
