package customclaims

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"cel.dev/cel-go/interpreter"

	"tokenbroker/broker/credential"
)

// maxEncoded is the largest size of all custom claims as JSON, in bytes. Each request sends a token in
// a header.
const maxEncoded = 8 << 10

// The reasons why claims cannot be computed. No error of [Set.Claims] quotes an attribute.
var (
	ErrMissing    = errors.New("reads an attribute or key that is missing")
	ErrEvaluation = errors.New("cannot be evaluated")
	ErrCost       = errors.New("costs too much to evaluate")
	ErrNotJSON    = errors.New("cannot be represented in JSON")
	ErrTooLarge   = errors.New("custom claims larger than 8 KiB")
)

// Claims implements [credential.CustomClaims]. A missing or null attribute is omitted from the claims, as
// are a computed null, empty roles and empty groups. The error names the claim and wraps one of the
// errors above or the context's.
func (s *Set) Claims(ctx context.Context, in credential.ClaimsInput) (map[string]any, error) {
	claims := make(map[string]any, len(s.attributes)+len(s.computed)+2)
	for _, name := range s.attributes {
		value, err := attributeClaim(in.User.Attributes[name])
		if err != nil {
			return nil, fmt.Errorf("claim %q: %w", name, err)
		}
		if value != nil {
			claims[name] = value
		}
	}
	if s.roles && len(in.User.Roles) > 0 {
		claims["roles"] = in.User.Roles
	}
	if s.groups && len(in.User.Groups) > 0 {
		claims["groups"] = in.User.Groups
	}
	if len(s.computed) > 0 {
		vars, err := newVariables(in)
		if err != nil {
			return nil, fmt.Errorf("user.attributes: %w", err)
		}
		for i := range s.computed {
			value, err := s.computed[i].value(ctx, vars)
			if err != nil {
				return nil, fmt.Errorf("claim %q: %w", s.computed[i].name, redacted(ctx, err))
			}
			if value != nil {
				claims[s.computed[i].name] = value
			}
		}
	}
	encoded, err := json.Marshal(claims)
	if err != nil {
		return nil, ErrNotJSON
	}
	if len(encoded) > maxEncoded {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(encoded))
	}
	return claims, nil
}

// value evaluates the expression. Its errors may quote attributes: see redacted. It has a time-out
// only if there is a loop; otherwise the limits of single steps are enough.
func (c *computed) value(ctx context.Context, vars *variables) (any, error) {
	if c.loops {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxTime)
		defer cancel()
	}
	result, _, err := c.program.ContextEval(ctx, vars)
	if err != nil {
		return nil, err
	}
	return goValue(result)
}

// redacted returns err without the parts of the input that CEL's messages quote.
func redacted(ctx context.Context, err error) error {
	var cancelled interpreter.EvalCancelledError
	wasCancelled := errors.As(err, &cancelled)
	switch {
	case errors.Is(err, ErrNotJSON):
		return ErrNotJSON
	case errors.Is(err, ErrTooLarge):
		return ErrTooLarge
	case errors.Is(err, ErrCost), wasCancelled && cancelled.Cause == interpreter.CostLimitExceeded:
		return ErrCost
	case ctx.Err() != nil:
		return ctx.Err()
	case wasCancelled: // after maxTime
		return ErrCost
	case strings.HasPrefix(err.Error(), "no such key"):
		return ErrMissing
	default:
		return ErrEvaluation
	}
}

// UserObject implements [credential.CustomClaims]. It omits members that the user does not have. The values belong
// to the user and must not be changed.
func (s *Set) UserObject(u credential.ClaimsUser) map[string]any {
	if len(s.userObject) == 0 {
		return nil
	}
	object := make(map[string]any, len(s.userObject))
	text := func(name, value string) {
		if value != "" {
			object[name] = value
		}
	}
	list := func(name string, values []string) {
		if len(values) > 0 {
			object[name] = values
		}
	}
	for _, name := range s.userObject {
		switch name {
		case "id":
			text(name, u.ID)
		case "username":
			text(name, u.Username)
		case "local":
			object[name] = u.Local
		case "roles":
			list(name, u.Roles)
		case "groups":
			list(name, u.Groups)
		default:
			if value := u.Attributes[name]; value != nil {
				object[name] = value
			}
		}
	}
	return object
}
