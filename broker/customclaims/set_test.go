package customclaims_test

import (
	"errors"
	"strings"
	"testing"

	"tokenbroker/broker/customclaims"
)

func newSet(t testing.TB, cfg customclaims.Config) *customclaims.Set {
	t.Helper()
	set, err := customclaims.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func problemsOf(t *testing.T, err error) customclaims.Problems {
	t.Helper()
	var problems customclaims.Problems
	if !errors.As(err, &problems) {
		t.Fatalf("%v is not a list of problems", err)
	}
	return problems
}

func TestNewRefuses(t *testing.T) {
	attributes := func(names ...string) customclaims.Config { return customclaims.Config{Attributes: names} }
	computed := func(expression string) customclaims.Config {
		return customclaims.Config{Computed: map[string]string{"c": expression}}
	}
	for name, test := range map[string]struct {
		cfg     customclaims.Config
		key     string
		message string
	}{
		"a reserved attribute":               {attributes("sub"), "claims.attributes", "reserved"},
		"a reserved name in upper case":      {attributes("SUB"), "claims.attributes", "reserved"},
		"a reserved computed claim":          {customclaims.Config{Computed: map[string]string{"sep": "1"}}, "claims.computed.sep", "reserved"},
		"roles when they are on":             {customclaims.Config{Attributes: []string{"roles"}, Roles: true}, "claims.attributes", "claims.roles"},
		"groups when they are on":            {customclaims.Config{Computed: map[string]string{"Groups": "1"}, Groups: true}, "claims.computed.Groups", "claims.groups"},
		"an attribute twice":                 {attributes("email", "email"), "claims.attributes", "already defined"},
		"an attribute that differs in case":  {attributes("email", "Email"), "claims.attributes", "already defined"},
		"an attribute and computed":          {customclaims.Config{Attributes: []string{"c"}, Computed: map[string]string{"c": "1"}}, "claims.computed.c", "claims.attributes"},
		"an empty name":                      {attributes(""), "claims.attributes", "empty"},
		"a long name":                        {attributes(strings.Repeat("x", 65)), "claims.attributes", "longer"},
		"a name beyond ASCII":                {attributes("größe"), "claims.attributes", "printable"},
		"a control character":                {attributes("a\nb"), "claims.attributes", "printable"},
		"a user object's name twice":         {customclaims.Config{UserObject: []string{"id", "id"}}, "user_object", "twice"},
		"an invalid name in the user object": {customclaims.Config{UserObject: []string{"\x00"}}, "user_object", "printable"},
		"a syntax error with its position":   {computed("1 +\n  ?"), "claims.computed.c", "line 2, column 3"},
		"a misspelt field":                   {computed("user.rolez"), "claims.computed.c", "line 1, column 5: undefined field 'rolez'"},
		"a misspelt field of session":        {computed("session.sid"), "claims.computed.c", "undefined field"},
		"an unknown variable":                {computed("usr.id"), "claims.computed.c", "undeclared reference"},
		"format, which costs nothing":        {computed(`"%s".format([user.id])`), "claims.computed.c", "undeclared reference"},
		"a clock":                            {computed("now()"), "claims.computed.c", "undeclared reference"},
		"a type error":                       {computed("user.id + 1"), "claims.computed.c", "no matching overload"},
		"a type":                             {computed("type(1)"), "claims.computed.c", "cannot be a claim"},
		"bytes":                              {computed("b'x'"), "claims.computed.c", "cannot be a claim"},
		"a duration":                         {computed("session.auth_time - user.created_at"), "claims.computed.c", "cannot be a claim"},
		"a whole variable":                   {computed("user"), "claims.computed.c", "tokenbroker.User"},
		"a whole variable in a list":         {computed("[session]"), "claims.computed.c", "cannot be a claim"},
		"a map with numbers as keys":         {computed("{1: 'a'}"), "claims.computed.c", "keys"},
		"an empty expression":                {computed(""), "claims.computed.c", "empty"},
		"an expression over 4 KiB":           {computed("'" + strings.Repeat("x", 4<<10) + "'"), "claims.computed.c", "4 KiB"},
		"an expression nested too deep":      {computed(strings.Repeat("[", 200) + strings.Repeat("]", 200)), "claims.computed.c", "recursion"},
		"an invalid regular expression":      {computed("user.id.matches('(')"), "claims.computed.c", "error parsing regexp"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := customclaims.New(test.cfg)
			p := problemsOf(t, err)[0]
			if p.Key != test.key || !strings.Contains(p.Message, test.message) || p.Hint == "" {
				t.Errorf("%+v; want %s: …%s…", p, test.key, test.message)
			}
		})
	}
}

func TestNewReportsAllProblems(t *testing.T) {
	_, err := customclaims.New(customclaims.Config{
		Attributes: []string{"iss", "email", "exp"},
		Computed:   map[string]string{"jti": "user.rolez", "ok": "1", "worse": "1 +"},
		UserObject: []string{""},
	})
	var keys []string
	for _, p := range problemsOf(t, err) {
		keys = append(keys, p.Key)
	}
	const want = "claims.attributes claims.attributes claims.computed.jti claims.computed.jti claims.computed.worse user_object"
	if got := strings.Join(keys, " "); got != want {
		t.Errorf("problems at %s\nwant %s", got, want)
	}
}

func TestNewAcceptsUnusualNames(t *testing.T) {
	set := newSet(t, customclaims.Config{
		Attributes: []string{"custom:tenant", "https://example.org/claims/level", "roles", "a.b", "x y"},
		UserObject: []string{"sub", "id"},
	})
	if err := set.Try(t.Context()); err != nil {
		t.Error(err)
	}
}
