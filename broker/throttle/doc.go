// Package throttle slows down the guessing of passwords, by account and by address.
//
// Only failures count, and tries under way, which may become some. Before a password is checked ask
// [Throttle.Allow], afterwards tell what became of it, once for each try that was allowed:
//
//	if wait, ok := t.Allow(account, addr); !ok {
//		// 429, Retry-After: wait
//	}
//	switch ok, err := check(password); {
//	case err != nil:
//		t.Refund(account, addr) // nobody knows whether it was right
//	case ok:
//		t.Succeeded(account, addr)
//	default:
//		t.Failed(account, addr)
//	}
//
// An account that does not exist is treated like any other, so the answers do not tell
// which accounts there are. Names are the caller's to normalise; they are kept as hashes.
//
// An account has a number of free failures; after those, one attempt is let through at a
// time and the pause between them doubles up to a maximum. The maximum is short on purpose:
// whoever knows an account's name can make its owner wait that long. An address, or a /64
// of IPv6, has a bucket of failures that refills at a steady rate.
//
// # Known places
//
// Whoever fails once a minute takes every turn that an account has, from wherever they are.
// So that its owner gets in all the same, an address from which the account was signed in to
// within 30 days has an allowance of its own, as large as an account's: tries from there are
// judged by the failures from there alone. Nobody earns that without the password. An
// account has up to 8 such places.
//
// # What it does not do
//
//   - An owner who comes from a new address while somebody keeps guessing is locked out as
//     long as that goes on: tries from there are judged by the account's failures. Sign in
//     from a known address, or block the guesser's in front of the broker.
//   - Guesses at an account get one allowance in all, and another for each known place that
//     they can be made from: by a neighbour behind the owner's own NAT, say.
//   - All is in memory: a restart forgets failures and places. Failures at more than
//     Config.Size other names push out an account's; they take a thousand addresses.
//   - A try under way counts as a failure until its end is told, so that guesses side by side
//     get no more of an account's free failures, or of an address's bucket, than guesses in
//     turn. Good sign-ins in turn slow nobody down; of those at once more than Account.Free
//     for one account, or Address.Burst from one address, are refused for a moment.
//
// # No account
//
// An empty name is no account: for proofs that nobody guesses, as a provider's tokens, of
// which an address should not make the broker check any number. Such tries leave no trace
// but in the address's bucket.
package throttle
