// Package simtest holds a deterministic simulation of revocation: one broker and some
// services on machines whose clocks drift, step and stop, over a network that delays,
// loses, repeats and reorders, with processes that are paused, killed and restarted, and
// stores that are restored from a backup.
//
// What is simulated is only the world. The ledger (over a store in memory), the answer's
// two forms, the tracker and the capped denylist are the real ones, driven as the broker and
// package validator drive them. Left out are the signatures and the transports. A twin
// knows each token and each revocation, and after each step it is checked that
//
//   - what was acknowledged is in the ledger's answers until its tokens are dead (P1),
//   - a service that says it is fresh accepts no token whose revocation was acknowledged
//     more than max_staleness ago (P2),
//   - no service accepts a token that it refused as revoked before (P5), or refuses one that
//     nothing revoked,
//   - after a quiet while every service is fresh and exact.
//
// All is drawn from one seed. "go test" runs a hundred seeds, and for each planted
// bug as many as it takes to catch it. A long run, and the replay of a seed that failed:
//
//	go test ./revocation/simtest -run TestSeeds -seeds 100000 -timeout 0
//	go test ./revocation/simtest -run TestSeeds -seed 4711 -v
//
// The second one prints all that happened.
package simtest
