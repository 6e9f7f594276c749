// Package keyring keeps the broker's keys: those that sign access tokens, those that sign revocation
// messages, and the master secret that refresh and CSRF tokens are derived from.
//
// [Open] reads the one sealed record from the store, or makes it at the first start,
// and returns a [Keyring]. Everything that signs or verifies then works on an immutable
// snapshot of the record: without a lock or I/O, and without waiting for a rotation.
//
//	kek, err := keyring.LoadOrCreateKEKFile(filepath.Join(dir, "kek"))
//	sealer, err := keyring.NewAESGCM(kek)
//	ring, err := keyring.Open(ctx, keyring.Config{Store: s, Sealer: sealer, StoreID: id})
//	token, err := ring.SignAccessToken(ctx, claims) // access tokens (RFC 9068)
//	raw, err := ring.SignFeed(revocation.BatchType, batch)
//	macKeys := ring.Keys("refresh-token") // current first
//	doc := ring.JWKS()                    // prepared bytes and ETag
//
// A key has one purpose, which never changes: an access key signs tokens and is in
// [Keyring.JWKS], a feed key signs revocation messages and is in [Keyring.FeedJWKS].
// The master secret is in neither. Of each signing purpose one key is active and one,
// already published, is next.
//
// # The life of a key
//
// A key goes from next to active to retiring to retired; a compromised one is permanently refused.
//
//	go ring.Run(ctx)                                        // applies what is due
//	r, err := ring.Rotate(ctx, lifecycle.PurposeAccess, "") // "" keeps the algorithm
//	c, err := ring.Compromise(ctx, kid)                     // a leak: the successor signs at once
//	err = ring.RotateKEK(ctx, sealer)                       // another KEK
//
// A next key signs when it is ready: published for a JWKS cache life and a margin. That is
// counted on the monotonic clock of a process that had it published all the time, never by
// the wall clock: a jump of a year makes no key ready. The record notes that a key is ready, so
// that a restart costs at most one more cache life, and only before that. The
// first key and the successor of a compromised one are exempt.
//
// A retiring key, whose private part is erased, stays published until its last token has
// expired: by the clock, even if that was ahead when the token was signed ([Config.LastExpiry]),
// and by a full token life on the monotonic clock. After the store was unavailable (a shared one: for
// so long that the keyring was outdated) all of this
// is counted again, because what another broker did in the meantime is not known. A clock that is
// behind the keys rotates nothing ([lifecycle.ErrClockBehind]). After any failure the present key
// continues to sign, and [Keyring.Status] reports the failure.
//
// A new master secret is accepted at once and used when every broker of the store has had the
// time to read it. The old ones are accepted for [Config.MasterLife].
//
// The rules are in package lifecycle, which is pure. A change is stored by
// compare-and-set and planned again if the record was changed in the meantime, so that two brokers
// that rotate at once make one rotation.
//
// # A shared store
//
// Brokers of one store set [Config.Shared], run [Keyring.Run], and have one configuration of RotateEvery,
// JWKSMaxAge and token life. The margin (a tenth of JWKSMaxAge, at least a second and at most 30) is the
// time after a change within which the others follow it. Each reads the record three times within a
// margin, and when it is told of a change ([Keyring.Refresh]). A keyring whose last read began longer ago than
// two thirds of the margin is outdated: it signs nothing and has no JWK set ([ErrOutdated]). A
// broker that was stopped or cut off notices this at its next signature. So a key that is ready is in
// every JWK set that a service may have cached, no token is signed by a key that another broker has
// removed, and a broker that is not outdated knows every master secret that is in use. A broker whose KEK is not
// that of the record cannot read it, and stops as well.
//
// Private keys and secrets are sealed one by one (the associated data binds purpose, key
// id and algorithm, so that swapped entries are refused), and the record as a whole is
// also authenticated: an attacker who can write to the store but has no KEK can delete the keyring or
// restore an older one, and change nothing else. No type of this package shows key
// material through fmt, encoding/json or log/slog.
package keyring
