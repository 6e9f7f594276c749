// Package customclaims computes the configured claims of access tokens, in addition to the standard
// ones, and the user object of the answers. [New] checks and compiles the configuration once. The
// [Set] then serves each sign-in and refresh. [Set.Try] tests it with [Sample].
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
// last_login is the zero time (year 1) before a first login. Expressions can use CEL's standard
// library, its lists and sets extensions, and from its strings extension charAt, indexOf,
// lastIndexOf, lowerAscii, upperAscii, reverse, split, substring, trim, join and replace (the last
// two up to 16 KiB). There is no clock: the same input produces the same claims, except for the
// order of a map's keys in a loop (sort the result).
//
// Check first whether an attribute that may be missing exists: has(user.attributes.tenant), or
// "custom:tenant" in user.attributes for a name that is not an identifier. A missing attribute is an
// error, and no token is issued after an error: a service must not receive a token without a claim
// that its decisions depend on. If the result is null, the claim is omitted.
//
// # Limits
//
// An expression has up to 4 KiB, 8 loops (each map, filter, all, exists, exists_one and sortBy is a
// loop, also in a chain), 4 nested loops, and 256 elements in a literal list or map. [New] refuses
// more. An evaluation has up to 20,000 steps and, if it has loops, 250 ms. All claims together have up
// to 8 KiB. Beyond these limits it fails with [ErrCost] or [ErrTooLarge].
//
// Some functions are one step in CEL but visit all values inside their arguments: ==, != and in for
// lists and maps, flatten, sort, sortBy, distinct, and the functions on sets. Their work is estimated
// before they run. They take a step for each value inside, and those that compare all pairs (distinct,
// sets) one for each pair: a distinct of 100 names is near the limit. Whole variables inside lists or
// maps are not compared. A regular expression has up to 150 instructions.
//
// # Numbers and times
//
// Numbers in attributes are always doubles in expressions: 1 is 1.0. Comparisons with integers work,
// arithmetic needs int(…). In a claim a whole number is printed without a fraction. A timestamp becomes
// RFC 3339 text; int(session.auth_time) returns Unix seconds. Bytes, durations, types and whole
// variables cannot be claims.
package customclaims
