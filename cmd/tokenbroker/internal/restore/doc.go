// Package restore puts a backup in the place of a stopped broker's store, so that nothing
// that was revoked, rotated or compromised since comes back: [Prepare] checks everything that
// can be checked without a change and takes the data directory, [Plan.Run] does it.
//
// The new store is built beside the old one and takes its place by renames: whenever the
// process ends, the next start finds the old store or the new one, never a mix.
//
// [PrepareRaise] and [Raise.Run] do the same with what can be read of a damaged store, where
// there is no backup.
package restore
