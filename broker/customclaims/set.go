package customclaims

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"

	"tokenbroker/broker/credential"
	"tokenbroker/internal/setting"
)

// maxName is the longest name of a claim, in bytes.
const maxName = 64

// Config configures the claims and the user object.
type Config struct {
	// Attributes are the attributes of the user that become claims of the same name.
	Attributes []string
	// Computed maps the names of claims to CEL expressions.
	Computed map[string]string
	// Roles and Groups add the claims of that name if the user has any.
	Roles, Groups bool
	// UserObject has the members of the user object in answers: id, username, local, roles, groups,
	// or the name of an attribute. If empty, there is no user object.
	UserObject []string
}

// DefaultConfig returns the claims and the user object that apply if nothing is configured.
func DefaultConfig() Config {
	return Config{Roles: true, Groups: true, UserObject: []string{"id", "username", "roles", "groups"}}
}

// Set is a checked and compiled [Config]. It is safe for concurrent use.
type Set struct {
	attributes []string
	computed   []computed
	roles      bool
	groups     bool
	userObject []string
}

var _ credential.CustomClaims = (*Set)(nil)

// New checks and compiles cfg. The error is [Problems]. New refuses reserved claims
// ([credential.ReservedClaim], and roles and groups if those are on), two claims of one name, and names
// other than 1 to 64 printable ASCII characters. Names that differ only in case count as one.
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

// checkClaim checks a claim's name and adds it to taken, which maps folded names to their sections.
func checkClaim(key, section, name string, taken map[string]string) Problems {
	if problem := nameProblem(name); problem != "" {
		return Problems{{Key: key, Message: fmt.Sprintf("%q %s", name, problem), Hint: nameHint}}
	}
	if credential.ReservedClaim(name) {
		return Problems{{
			Key: key, Message: fmt.Sprintf("%q is a reserved claim (in upper or lower case)", name),
			Hint: "choose another name, as claims.computed: {other_name: 'user.attributes.…'}",
		}}
	}
	folded := strings.ToLower(name)
	if by, ok := taken[folded]; ok {
		return Problems{{
			Key: key, Message: fmt.Sprintf("the claim %q is already defined by %s", name, by),
			Hint: "define each claim once; names that differ only in case count as one",
		}}
	}
	taken[folded] = section
	return nil
}

func checkUserObject(names []string) Problems {
	const key = "user_object"
	var problems Problems
	for i, name := range names {
		switch problem := nameProblem(name); {
		case problem != "":
			problems = append(problems, Problem{Key: key, Message: fmt.Sprintf("%q %s", name, problem), Hint: nameHint})
		case slices.Contains(names[:i], name):
			problems = append(problems, Problem{Key: key, Message: fmt.Sprintf("%q is listed twice", name), Hint: "list each name once"})
		}
	}
	return problems
}

const nameHint = "1 to 64 printable ASCII characters"

func nameProblem(name string) string {
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

type (
	// Problem is one problem of the configuration, identified by its key: claims.attributes,
	// claims.computed.<name> or user_object.
	Problem = setting.Problem
	// Problems is the error of [New] and [Set.Try]. It has all problems, in the order of the
	// configuration, and computed claims by name.
	Problems = setting.Problems
)

// Sample returns the user with whom Try evaluates the claims: one who signed in with Cognito, with
// its usual attributes (email, email_verified, name, given_name, family_name, locale, phone_number,
// phone_number_verified, custom:tenant; cognito:username is the username), a role and two groups.
// Each call returns a new value.
func Sample() credential.ClaimsInput {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	login := created.Add(30 * 24 * time.Hour)
	return credential.ClaimsInput{
		User: credential.ClaimsUser{
			ID: "01987c1e-5a00-7000-8000-000000000001", Username: "ada",
			Attributes: map[string]any{
				"email": "ada@example.org", "email_verified": true,
				"name": "Ada Lovelace", "given_name": "Ada", "family_name": "Lovelace", "locale": "en-GB",
				"phone_number": "+442071838750", "phone_number_verified": false,
				"custom:tenant": "acme",
			},
			Roles: []string{"editor"}, Groups: []string{"staff", "admins"},
			CreatedAt: created, LastLogin: login,
		},
		Identity: credential.ClaimsIdentity{
			Provider: "cognito", Issuer: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example01",
			Subject: "b3d4f7a2-0000-4000-8000-000000000001",
		},
		Client: credential.ClaimsClient{ID: "spa"},
		Session: credential.ClaimsSession{
			ID: "01987c1e-5a00-7000-8000-000000000002", Scope: "openid", ACR: "urn:tokenbroker:acr:password",
			Device: "Mozilla/5.0", AMR: []string{"pwd"}, AuthTime: login, CreatedAt: login,
		},
	}
}

// Try computes all claims for [Sample]. The error is [Problems], or ctx's. It quotes CEL's messages,
// because the sample is not a real user.
func (s *Set) Try(ctx context.Context) error {
	in := Sample()
	vars, err := newVariables(in)
	if err != nil {
		return err
	}
	var problems Problems
	for i := range s.computed {
		c := &s.computed[i]
		if _, err := c.value(ctx, vars); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			problems = append(problems, Problem{
				Key: computedKey(c.name), Message: "for the sample user: " + c.positionOf(err) + err.Error(), Hint: tryHint(redacted(ctx, err)),
			})
		}
	}
	if len(problems) > 0 {
		return problems
	}
	if _, err := s.Claims(ctx, in); err != nil {
		return Problems{{Key: "claims", Message: "for the sample user: " + err.Error(), Hint: tryHint(err)}}
	}
	return nil
}

// positionOf returns the position in the expression at which err occurred, or "".
func (c *computed) positionOf(err error) string {
	var at *types.Err
	if !errors.As(err, &at) || at.NodeID() == 0 {
		return ""
	}
	return position(c.ast.NativeRep().SourceInfo().GetStartLocation(at.NodeID()))
}

func tryHint(err error) string {
	switch {
	case errors.Is(err, ErrCost), errors.Is(err, ErrTooLarge):
		return "make it smaller: each sign-in and refresh computes it, and each request sends it"
	case errors.Is(err, ErrNotJSON):
		return jsonTypeHint
	case errors.Is(err, ErrMissing):
		return `check for what a user may not have: has(user.attributes.x) ? user.attributes.x : null, or "custom:x" in user.attributes ? user.attributes["custom:x"] : null`
	default:
		return "numbers in attributes are doubles; the sample user is described in docs/operate.md"
	}
}
