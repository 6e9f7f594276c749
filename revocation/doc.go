// Package revocation is all that a service needs to know what is revoked.
//
// The broker sends signed messages, a [Batch] for each commit and a [Heartbeat] each
// second, over a [Feed], and answers catch-ups over HTTP ([Answer]). A service
//
//   - opens a [Feed], verifies what it delivers with [ParseMessage],
//   - feeds it with the answers and the time to a [Tracker], which decides what is applied,
//     what is missing, how fresh that is and what to fetch,
//   - applies what the tracker says to a [Denylist] and asks that about its tokens.
//
// Package validator does all of this; use this package by itself to write another feed or
// another follower. Sub-packages hold the feed over NATS (natsfeed) and the broker's
// durable record (ledger).
//
// Only a verified message changes anything or creates an expectation, and replays change
// nothing. Freshness is proved, never assumed: see [State].
package revocation
