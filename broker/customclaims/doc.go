// Package customclaims computes the configured claims of access tokens, beside the standard
// ones, and the user object of the answers. [New] checks and compiles everything once;
// a [Set] then serves every sign-in and refresh, and [Set.Try] runs it against [Sample].
//
//	set, err := customclaims.New(customclaims.Config{
//		Attributes: []string{"email"},
//		Computed:   map[string]string{"admin": `"admins" in user.groups`},
//	})
//
// # Expressions
//
// A computed claim is a CEL expression (https://cel.dev) over these variables; a field that
// is not listed is refused when the configuration is read:
//
//	user      id, username (string), attributes (map of string to anything),
//	          roles, groups (list of string), created_at, last_login (timestamp),
//	          local (bool: the user name is that of a local account)
//	identity  provider, issuer, subject (string)
//	client    id (string)
//	session   id, scope, acr, device (string), amr (list of string),
//	          auth_time, created_at (timestamp)
//
// last_login is the zero time (year 1) before a first login. Beside CEL's standard library
// there are its lists and sets extensions, and of its strings extension charAt, indexOf,
// lastIndexOf, lowerAscii, upperAscii, reverse, split, substring, trim, join and replace (the
// last two up to 16 KiB). There is no clock: the same input gives the
// same claims, but for the order in which a map's keys are walked (sort what comes of it).
//
// An attribute that may be missing is asked for first: has(user.attributes.tenant), or
// "custom:tenant" in user.attributes for a name that is no identifier. A missing one is an
// error, and an error refuses the token: a service must not meet a token without a claim
// that it decides by. null leaves the claim out.
//
// # Limits
//
// An expression has up to 4 KiB, 8 loops (each map, filter, all, exists, exists_one, sortBy
// is one, a chain of them adds up), 4 of them one in another, and 256 elements in a list or
// map that it writes down: [New] refuses more. An evaluation has 20,000 steps and, as far as
// it has loops, 250 ms; all claims together have 8 KiB. Beyond that it fails, with [ErrCost]
// or [ErrTooLarge].
//
// What is one step to CEL, and may still walk through everything that a value holds, is asked
// for its work before it runs: ==, != and in between lists and maps, flatten, sort, sortBy,
// distinct, and the functions on sets. They take a step for each value inside, those that
// compare each with each (distinct, sets) for each pair: a distinct of 100 names is near the
// limit. Whole variables inside lists or maps are not compared. A regular expression has up to
// 150 instructions.
//
// # Numbers and times
//
// Numbers in attributes are doubles in expressions, whatever their value (1 is 1.0;
// comparisons with integers work, arithmetic wants int(…)). In a claim a number is printed
// without a fraction when it has none. A timestamp becomes RFC 3339 text; int(session.auth_time)
// gives Unix seconds. Bytes, durations, types and whole variables are no claims.
package customclaims
