package customclaims

import "tokenbroker/internal/setting"

type (
	// Problem is one thing that is wrong with the configuration, by its key: claims.attributes,
	// claims.computed.<name> or user_object.
	Problem = setting.Problem
	// Problems is the error of [New] and [Set.Try]: everything at once, in the order of the
	// configuration, computed claims by name.
	Problems = setting.Problems
)
