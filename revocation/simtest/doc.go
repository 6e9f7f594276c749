// Package simtest holds two deterministic simulations of revocation. In the first one there is a broker, now and
// then a second one that should be gone, and some services on machines whose clocks drift and step,
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
// # Several brokers
//
// In the second simulation up to three brokers share an engine ([memstore.Engine]). Operations of the engine take
// time, fail, or lose their answers; commits arrive late, twice or after the process that sent them has ended; hints are
// lost, doubled and late. Brokers are stopped, suspended, killed and restarted under their names, ended by others while
// they cannot be heard, cut off from the engine or from the feed, and their clocks drift and are set, by less than the
// guard allows and by an hour. Services hear the heartbeats and batches of all brokers, and ask any of them.
//
// The run of a broker (package origins), its ledger with its loop that follows and collects, the core of the sessions,
// the tracker, the denylist and the answers are the real ones. The committer is a model of package commit, the keyring a
// record that each version replaces by compare-and-set. In addition to P1, P5 and the quiet, after which each broker has
// one live origin and is ready, it is checked at each transaction, acknowledgement, heartbeat and answer that
//
//  1. each generation of a session has at most one acknowledged successor, and no rotation is undone,
//  2. a tombstone is final, and no token of a session outlives the event that ended it,
//  3. an origin and a sequence number name one payload, sequence numbers have no gaps, and what was acknowledged is on
//     record at or below the head,
//  4. what any broker acknowledged before a broker read up, or before a catch-up reached it, is at or below the heads of its
//     heartbeat or answer,
//  5. a service that says it is fresh knows every event that was acknowledged before as_of, and a broker that verifies a
//     token every one before the request,
//  6. no batch of an origin appears after it was ended,
//  7. a caller who is told that a change was stored, or was not, is told the truth, also of commits that arrive later,
//  8. nothing is collected before its length ran and the clock of every live broker was past its end, and the time floor
//     does not go back,
//  9. each version of the keyring was made of the one before.
//
// Not simulated: engines other than memstore's, with their clients; engines that are rewound, restores and the raising of
// the floor in a cluster; the real keyring and the JWKS with its margin; services that do not speak 2; migration and
// upgrades; the publisher and the hub, SSE and receipts; events other than those of sessions and tokens in a cluster; limits of size; more than
// three brokers.
//
// # Seeds
//
// All is drawn from one seed. "go test" runs more than a thousand seeds, and for each planted
// bug as many as it takes to catch it. A long run, and the replay of a seed that failed:
//
//	go test ./revocation/simtest -run TestSeeds -seeds 100000 -timeout 0
//	go test ./revocation/simtest -run TestSeeds -seed 4711 -v
//	go test ./revocation/simtest -run TestClusterSeeds -seed 4711 -v
//
// The last two print all that happened. In a cluster the real code has goroutines and timers. One goroutine runs at a time,
// but where a select has a choice it is Go that chooses: on a busy machine about one run of a hundred differs from
// its replay.
package simtest
