// Package throttle slows down the guessing of passwords, by account and by address.
//
// Only failures count, and tries under way, which may become some. Before a password is checked
// call [Throttle.Allow], and afterwards report the result, once for each try that was allowed:
//
//	if wait, ok := t.Allow(account, addr); !ok {
//		// 429, Retry-After: wait
//	}
//	switch ok, err := check(password); {
//	case errors.Is(err, context.Canceled), errors.Is(err, errQueueFull):
//		t.Abandoned(account, addr) // it took a place and was not decided
//	case err != nil:
//		t.Refund(account, addr) // not decided through no fault of the caller
//	case ok:
//		t.Succeeded(account, addr)
//	default:
//		t.Failed(account, addr)
//	}
//
// An account that does not exist is treated like any other, so the answers do not tell
// which accounts there are. Names are the caller's to normalise; they are kept as hashes.
//
// # Accounts
//
// An account has a number of free failures; after those, one attempt is let through at a
// time and the pause between them doubles up to a maximum. The maximum is short on purpose:
// a person who knows an account's name can make its owner wait that long.
//
// # Addresses
//
// Failures are also counted for the prefixes that the address is in: of IPv4 the address and
// its /24, of IPv6 the /64, /56, /48 and /32. Each has a bucket of failures that refills at a
// steady rate; larger prefixes have more of both, but not in proportion to their size: an
// attacker with a /48 has 65,536 networks and gets twice the failures of one. A try needs
// room at every level, and the wait is the longest of all.
//
// # Known addresses
//
// A person who fails once a minute takes every turn that an account has, from any address, and
// one who has many addresses uses up the prefixes around them. So that users get in all the
// same, an address from which an account was signed in to within 30 days (an IPv4 address, or
// a /64) is known:
//
//   - For every account, existing or not, it has an allowance of its own, as large as an
//     account's: tries from there are judged by the failures from there and by no others.
//   - It is judged by its own bucket, not by those of the larger prefixes. Its failures still
//     count there. The known addresses of a larger prefix have another bucket together: as much as
//     one account's 8 known addresses, or the prefix's if that is more.
//   - [Throttle.Known] lets callers serve it first.
//
// Whether an address is known depends on the address, not on the account that is tried.
// If it depended on the account, a try at an account that is slowed down would be judged
// differently from the owner's address than a try at a name that does not exist. An account
// keeps up to 8 addresses known, and a new one replaces one that was not used for a day.
//
// # What it does not do
//
//   - An owner who comes from an address that is not known, while somebody keeps guessing, is
//     locked out as long as that goes on. Sign in from a known address, or block the
//     guesser's in front of the broker.
//   - Guesses at an account get one allowance in all, and another for each known address that
//     they can be made from: behind the NAT of an office, say, or by a user of the broker.
//   - Two people behind one address share its bucket, and their failures at an account. One who
//     fails there until the account is slowed down can see that its owner signs in from there.
//   - All is in memory: a restart forgets failures and known addresses. Failures at more than
//     Config.Size other names push out an account's; they take a thousand addresses.
//   - A try under way counts as a failure until its end is reported, so that guesses side by
//     side get no more of an account's free failures, or of a bucket, than guesses in turn.
//     Good sign-ins in turn slow down no other; of those at once more than Account.Free for one
//     account, or a Level's Burst from one prefix, are refused for a moment.
//
// # No account
//
// An empty name is not an account: for proofs that cannot be guessed, such as a provider's
// tokens, of which an address should not make the broker check any number. Such tries leave no
// trace but in the buckets, and make no address known.
package throttle
