// Package password hashes and checks passwords with argon2id (RFC 9106).
//
// A [Hasher] does the work in the caller's goroutine and bounds how many do so at once:
// each takes Params.Memory and a core, so a flood of sign-ins must wait in a short line and
// be refused beyond it. Callers of [High] priority pass those of [Low] in the line, and have
// places in it that a flood cannot take. Networks take turns, so that one that sends many
// callers delays its own.
//
//	ok, rehash, err := hasher.Verify(ctx, caller, password, user.PasswordHash)
//	switch {
//	case err != nil: // ErrBusy, the caller gave up, or a damaged record
//	case ok && rehash: // store hasher.Hash(ctx, password)
//	}
//
// Passwords are compared in NFC (RFC 8265 §4.2.2, NIST SP 800-63B), so that what is typed on
// another keyboard is the same password. One that differs from its NFC costs a second computation
// where the first fails.
//
// For a user who does not exist, call [Hasher.VerifyUnknown], so that the answer takes as
// long. Hashes are stored in the PHC string format:
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>
//
// Neither passwords nor hashes appear in errors, and the package logs nothing.
package password
