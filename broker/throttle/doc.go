// Package throttle slows down the guessing of passwords, by account and by address.
//
// Only failures count: good sign-ins slow nobody down. Before a password is checked ask
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
// A try under way counts as a failure until its end is told, so that guesses side by side
// get no more of an account's free failures, or of an address's bucket, than guesses in turn.
package throttle
