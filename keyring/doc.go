// Package keyring keeps the broker's keys: what signs access tokens, what signs revocation
// messages, and the master secret that refresh and CSRF tokens are derived from.
//
// [Open] reads the one sealed record from the store, or makes it at the very first start,
// and gives a [Keyring]. Everything that signs or verifies then works on an immutable
// [Snapshot]: no lock, no I/O, no wait for a rotation.
//
//	kek, err := keyring.LoadOrCreateKEKFile(filepath.Join(dir, "kek"))
//	sealer, err := keyring.NewAESGCM(kek)
//	ring, err := keyring.Open(ctx, keyring.Config{Store: s, Sealer: sealer, StoreID: id})
//	token, err := ring.SignAccessToken(ctx, claims) // access tokens (RFC 9068)
//	raw, err := ring.SignFeed(revocation.BatchType, batch)
//	macKeys := ring.Keys("refresh-token") // current first
//	doc := ring.JWKS()                    // prepared bytes and ETag
//
// Keys have a purpose and never leave it: an access key signs tokens and stands in
// [Keyring.JWKS], a feed key signs revocation messages and stands in [Keyring.FeedJWKS].
// The master secret stands nowhere. Of each signing purpose one key is active and one,
// already published, is next.
//
// # A key's life
//
// A key goes from next to active to retiring to retired; a compromised one is dead for ever.
//
//	go ring.Run(ctx)                                    // does what is due
//	r, err := ring.Rotate(ctx, keyring.PurposeAccess, "") // "" keeps the algorithm
//	c, err := ring.Compromise(ctx, kid)                 // a leak: the successor signs at once
//	err = ring.Reseal(ctx, sealer)                      // another KEK
//
// A next key signs when it is ripe: published for a JWKS cache life and a margin. That is
// counted on the monotonic clock of a process that had it published all the time, never by
// the wall clock: a jump of a year makes no key ripe. Once ripe it is noted in the record, so
// that a restart costs at most one more cache life, and only while a key ripens. The very
// first key and the successor of a compromised one are exempt.
//
// A retiring key, whose private part is erased, stays published until its last token is
// dead: by the clock, also if that was ahead when the token was signed ([Config.LastExpiry]),
// and by a full token life on the monotonic clock. After the store was out of reach all of this
// is counted anew, because nobody knows what another broker did meanwhile. A clock that is
// behind the keys rotates nothing ([ErrClockBehind]). Whatever fails, the present key signs
// on, and [Keyring.Status] tells.
//
// A new master secret is accepted at once, used when every broker of the store has had the
// time to read it, and the old ones are accepted for [Config.MasterLife].
//
// All this is pure policy over the record (plan and its methods); a change is stored by
// compare-and-set and decided again if somebody else was faster, so that two who rotate at
// once make one rotation. Brokers of one store must run [Keyring.Run], must reach the store,
// and share one configuration of RotateEvery, JWKSMaxAge and token life.
//
// Private keys and secrets are sealed one by one (the associated data binds purpose, key
// id and algorithm, so that swapped entries are refused), and the record as a whole is
// authenticated, too: who can write to the store but has no KEK can delete the keyring or
// put an older one back, and change nothing else. No type of this package shows key
// material through fmt, encoding/json or log/slog.
package keyring
