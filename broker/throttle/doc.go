// Package throttle slows down password guessing, by account and by address.
//
// Only failures count, and pending tries, because they may fail. Call [Throttle.Allow] before a
// password is checked, and report the result afterwards, once for each allowed try:
//
//	if wait, ok := t.Allow(account, addr); !ok {
//		// 429, Retry-After: wait
//	}
//	switch ok, err := check(password); {
//	case errors.Is(err, context.Canceled), errors.Is(err, errQueueFull):
//		t.Done(account, addr, throttle.Abandoned) // it took a place in the queue, without a result
//	case err != nil:
//		t.Done(account, addr, throttle.Undecided) // no result, for a reason that is not the caller's
//	case ok:
//		t.Done(account, addr, throttle.Succeeded)
//	default:
//		t.Done(account, addr, throttle.Failed)
//	}
//
// An account that does not exist is treated like any other, so the answers do not reveal which
// accounts exist. The caller must normalize names. They are stored as hashes.
//
// # Accounts
//
// An account has a number of free failures. After those, one attempt at a time is allowed, and the
// pause between attempts doubles up to a maximum. The maximum is short because anyone who knows an
// account's name can make its owner wait that long.
//
// # Addresses
//
// Failures are also counted for the prefixes of the address: the address and its /24 for IPv4, and
// the /64, /56, /48 and /32 for IPv6. Each prefix has a token bucket of failures. Larger prefixes
// have larger buckets and rates, but not in proportion to their size: an attacker with a /48 has
// 65,536 networks and gets twice the failures of one. A try needs a token at each level, and waits
// for the level with the longest wait.
//
// # Known addresses
//
// An attacker who fails once a minute, from any address, uses all attempts of an account. One who has
// many addresses uses up the prefixes around them. So that users can still sign in, an address (an
// IPv4 address, or a /64) is known if an account was signed in to from it within 30 days:
//
//   - For each account, existing or not, a known address has a separate allowance of the size of an
//     account's: only failures from that address count for tries from it.
//   - Only its own bucket is checked, not the buckets of its larger prefixes. Its failures still
//     count there. The known addresses of a larger prefix share a separate bucket, which is as large
//     as those of one account's 8 known addresses, or as the prefix's if that is larger.
//   - [Throttle.Known] lets callers serve known addresses first.
//
// Whether an address is known does not depend on the account that is tried. Otherwise a try for a
// throttled account from its owner's address would be treated differently from a try for a name that
// does not exist. An account has up to 8 known addresses. A new one replaces one that was not used
// for a day.
//
// # Several brokers
//
// Each broker counts the failures of the tries that reach it. If several brokers share a store, each allows its
// share of every limit above ([Config.Share]): with three brokers, 4 of the 10 free failures of an account, 34 of
// the 100 of an address, a third of the rate, and pauses three times as long. If a load balancer spreads the
// tries evenly, all brokers together allow what one broker would; if it sends an address to one
// broker, that address has only the share of that broker. A broker that starts or ends changes
// the limits of the others at their next decision. Whether an address is known is also local: a user's
// address becomes known at the brokers at which the user signs in.
//
// Other limits of the process are not shared:
//
//   - The semaphores for password hashes, signatures and calls of a provider, mailboxes, connections and streams
//     protect the resources of one process. More brokers have more resources.
//   - The rate at which a user opens sessions (300, then one each 10 s) and the number of times that a
//     superseded refresh token is answered within its grace (128) bound the work that one client causes
//     at one broker. N brokers allow N times as much. What they protect does not depend on them: the
//     number of live sessions of a user is exact for all brokers, because it is in the store, and a
//     replay is answered with the token that is on record.
//   - The warning about replays from another address in consecutive generations needs three of them at
//     one broker. Behind a load balancer it comes later, or not at all.
//
// # Limitations
//
//   - While an attacker guesses, the account's owner cannot sign in from an address that is not known.
//     Sign in from a known address, or block the attacker's address in front of the broker.
//   - All guesses for an account share one allowance, with another one for each known address from
//     which they are made, for example behind the NAT of an office, or by a user of the broker.
//   - Two people behind one address share its bucket, and their failures for an account. One of them
//     who fails until the account is throttled can see that its owner signs in from there.
//   - Everything is in memory: a restart forgets failures and known addresses. Failures for more than
//     Config.Size other names remove those of an account; they need a thousand addresses.
//   - A pending try counts as a failure until its result is reported, so that concurrent guesses get
//     no more of an account's free failures, or of a bucket, than sequential ones. Successful
//     sequential sign-ins never slow down others. If more than Account.Free sign-ins for one account,
//     or a Level's Burst from one prefix, run at once, the rest are refused for a moment.
//
// # No account
//
// An empty name is not an account. It is for proofs that cannot be guessed, such as a provider's
// tokens, but of which one address must not make the broker check an unlimited number. Such tries
// change only the buckets, and do not make an address known.
package throttle
