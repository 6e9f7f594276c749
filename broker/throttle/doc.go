// Package throttle slows down the guessing of passwords, by account and by address.
//
// Only failures count: any number of good sign-ins passes at once. Before a password is
// checked ask [Throttle.Allow], afterwards tell [Throttle.Failed] or [Throttle.Succeeded]:
//
//	if wait, ok := t.Allow(account, addr); !ok {
//		// 429, Retry-After: wait
//	}
//	if passwordIsRight {
//		t.Succeeded(account, addr)
//	} else {
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
// Attempts that run at the same time see none of each other's failures, so an account's free
// failures can be exceeded by as many as are checked at once: bound those (see
// [tokenbroker/broker/password]).
package throttle
