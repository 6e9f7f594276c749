package customclaims

import (
	"context"
	"errors"
	"time"

	"cel.dev/cel-go/common/types"

	"tokenbroker/broker"
)

// Sample is the user that Try runs everything against: one who came by Cognito with its
// usual attributes (email, email_verified, name, given_name, family_name, locale,
// phone_number, phone_number_verified, custom:tenant; cognito:username is the username),
// a role and two groups. Each call returns its own.
func Sample() broker.ClaimsInput {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	login := created.Add(30 * 24 * time.Hour)
	return broker.ClaimsInput{
		User: broker.ClaimsUser{
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
		Identity: broker.ClaimsIdentity{
			Provider: "cognito", Issuer: "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example01",
			Subject: "b3d4f7a2-0000-4000-8000-000000000001",
		},
		Client: broker.ClaimsClient{ID: "spa"},
		Session: broker.ClaimsSession{
			ID: "01987c1e-5a00-7000-8000-000000000002", Scope: "openid", ACR: "urn:tokenbroker:acr:password",
			Device: "Mozilla/5.0", AMR: []string{"pwd"}, AuthTime: login, CreatedAt: login,
		},
	}
}

// Try computes everything for [Sample]; the error is [Problems], or ctx's. It quotes CEL's own words, for
// the sample is nobody's.
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
				Key: computedKey(c.name), Message: "for the sample user: " + c.where(err) + err.Error(), Hint: tryHint(discreet(ctx, err)),
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

// where is the place in the expression that err came from, or "".
func (c *computed) where(err error) string {
	var at *types.Err
	if !errors.As(err, &at) || at.NodeID() == 0 {
		return ""
	}
	return place(c.ast.NativeRep().SourceInfo().GetStartLocation(at.NodeID()))
}

func tryHint(err error) string {
	switch {
	case errors.Is(err, ErrCost), errors.Is(err, ErrTooLarge):
		return "make it smaller: every sign-in and refresh computes it anew, and every request carries it"
	case errors.Is(err, ErrNotJSON):
		return unfitHint
	case errors.Is(err, ErrMissing):
		return `guard what a user may lack: has(user.attributes.x) ? user.attributes.x : null, or "custom:x" in user.attributes ? user.attributes["custom:x"] : null`
	default:
		return "numbers in attributes are doubles; the sample user is described in docs/operate.md"
	}
}
