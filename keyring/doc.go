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
// A key goes through the states next, active, retiring and retired; a compromised one is
// dead for ever. Of each purpose one key is active and one, already published, is next.
//
// Private keys and secrets are sealed one by one (the associated data binds purpose, key
// id and algorithm, so that swapped entries are refused), and the record as a whole is
// authenticated, too: who can write to the store but has no KEK can delete the keyring or
// put an older one back, and change nothing else. No type of this package shows key
// material through fmt, encoding/json or log/slog.
package keyring
