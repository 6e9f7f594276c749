package customclaims

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tokenbroker/broker"
)

// maxName is the longest name of a claim, in bytes.
const maxName = 64

// Config is what the configuration says of claims and of the user object.
type Config struct {
	// Attributes of the user to copy, each under its own name.
	Attributes []string
	// Computed is claim name to CEL expression.
	Computed map[string]string
	// Roles and Groups add the claims of that name where the user has any.
	Roles, Groups bool
	// UserObject names what answers show of the user: id, username, local, roles, groups, else
	// an attribute of that name. Empty: no user object.
	UserObject []string
}

// DefaultConfig returns the claims and the user object where nothing is configured.
func DefaultConfig() Config {
	return Config{Roles: true, Groups: true, UserObject: []string{"id", "username", "roles", "groups"}}
}

// Set is a checked and compiled [Config]. Safe for concurrent use.
type Set struct {
	attributes []string
	computed   []computed
	roles      bool
	groups     bool
	userObject []string
}

var _ broker.CustomClaims = (*Set)(nil)

// New checks and compiles cfg; the error is [Problems]. Reserved claims
// ([broker.ReservedClaim], and roles and groups when those are switched on), two claims of
// one name, and names other than 1 to 64 printable ASCII characters are refused; names that
// differ in case alone count as one.
func New(cfg Config) (*Set, error) {
	s := &Set{
		attributes: slices.Clone(cfg.Attributes), roles: cfg.Roles, groups: cfg.Groups,
		userObject: slices.Clone(cfg.UserObject),
	}
	taken := map[string]string{}
	if cfg.Roles {
		taken["roles"] = "claims.roles"
	}
	if cfg.Groups {
		taken["groups"] = "claims.groups"
	}
	var problems Problems
	for _, name := range cfg.Attributes {
		const key = "claims.attributes"
		problems = append(problems, checkClaim(key, key, name, taken)...)
	}
	names := slices.Sorted(maps.Keys(cfg.Computed))
	if len(names) > 0 {
		c, err := newCompiler()
		if err != nil {
			return nil, fmt.Errorf("preparing expressions: %w", err)
		}
		for _, name := range names {
			key := computedKey(name)
			problems = append(problems, checkClaim(key, "claims.computed", name, taken)...)
			one, found := c.compile(name, cfg.Computed[name])
			problems = append(problems, found...)
			s.computed = append(s.computed, one)
		}
	}
	problems = append(problems, checkUserObject(cfg.UserObject)...)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

func computedKey(name string) string { return "claims.computed." + name }

// checkClaim checks a claim's name and enters it in taken (folded name to its section).
func checkClaim(key, section, name string, taken map[string]string) Problems {
	if problem := badName(name); problem != "" {
		return Problems{{Key: key, Message: fmt.Sprintf("%q %s", name, problem), Hint: nameHint}}
	}
	if broker.ReservedClaim(name) {
		return Problems{{
			Key: key, Message: fmt.Sprintf("%q is a reserved claim (upper and lower case alike)", name),
			Hint: "choose another name, as claims.computed: {other_name: 'user.attributes.…'}",
		}}
	}
	folded := strings.ToLower(name)
	if by, ok := taken[folded]; ok {
		return Problems{{
			Key: key, Message: fmt.Sprintf("the claim %q is there already, by %s", name, by),
			Hint: "each claim once; names that differ in case alone count as one",
		}}
	}
	taken[folded] = section
	return nil
}

func checkUserObject(names []string) Problems {
	const key = "user_object"
	var problems Problems
	for i, name := range names {
		switch problem := badName(name); {
		case problem != "":
			problems = append(problems, Problem{Key: key, Message: fmt.Sprintf("%q %s", name, problem), Hint: nameHint})
		case slices.Contains(names[:i], name):
			problems = append(problems, Problem{Key: key, Message: fmt.Sprintf("%q is there twice", name), Hint: "name each once"})
		}
	}
	return problems
}

const nameHint = "1 to 64 printable ASCII characters"

func badName(name string) string {
	if name == "" || len(name) > maxName {
		return "is empty or longer than 64 characters"
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return "has a character that is not printable ASCII"
		}
	}
	return ""
}
