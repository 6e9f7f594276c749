// Package simtest holds a deterministic simulation of revocation: a broker, now and then a
// second one that should be gone, and some services on machines whose clocks drift and step,
// over a network that delays, loses, repeats, reorders and is cut in one direction, with
// processes that are stopped, suspended, killed and restarted, stores that are restored from
// a backup, keys that rotate, leak and are compromised, and an attacker who replays and forges.
//
// What is simulated is only the world. The ledger (over a store in memory), the answer's
// two forms, the tracker, the capped denylist and, in a part of the runs, the signatures are
// the real ones, driven as the broker and package validator drive them; a service's reader,
// which keeps verdicts and asks the broker where the denylist cannot decide, goes step by step
// with the others at work in between. A twin knows each token and each revocation, and after
// each step it is checked that
//
//   - what was acknowledged is in the ledger's answers and in the broker's own denylist until
//     its tokens are dead (P1),
//   - a service that says it is fresh accepts no token whose revocation was acknowledged
//     more than max_staleness ago, nor one that its evictions may have forgotten (P2),
//   - no service accepts a token that it refused as revoked before (P5), or refuses one that
//     nothing revoked, or is unsure without having evicted anything,
//   - after a quiet while every service is fresh and exact and has the broker's keys.
//
// All is drawn from one seed. "go test" runs more than a thousand seeds, and for each planted
// bug as many as it takes to catch it. A long run, and the replay of a seed that failed:
//
//	go test ./revocation/simtest -run TestSeeds -seeds 100000 -timeout 0
//	go test ./revocation/simtest -run TestSeeds -seed 4711 -v
//
// The second one prints all that happened.
package simtest
