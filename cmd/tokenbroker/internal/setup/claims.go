package setup

import (
	"context"
	"errors"

	"tokenbroker/broker/customclaims"
	"tokenbroker/config"
)

// Claims compiles the configured claims and runs them against a sample user.
func Claims(ctx context.Context, cfg *config.Config) (*customclaims.Set, config.Problems) {
	set, err := customclaims.New(customclaims.Config{
		Attributes: cfg.Claims.Attributes, Computed: cfg.Claims.Computed,
		Roles: cfg.Claims.Roles, Groups: cfg.Claims.Groups, UserObject: cfg.UserObject,
	})
	if err == nil {
		err = set.Try(ctx)
	}
	if err == nil {
		return set, nil
	}
	var found customclaims.Problems
	if !errors.As(err, &found) {
		return nil, config.Problems{{Key: "claims", Message: err.Error()}}
	}
	problems := make(config.Problems, 0, len(found))
	for _, p := range found {
		problems = append(problems, config.Problem{Key: p.Key, Message: p.Message, Hint: p.Hint})
	}
	return nil, problems
}
