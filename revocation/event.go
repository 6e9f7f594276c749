// Package revocation has the parts with which a service receives revocations.
//
// The broker sends signed messages, a [Batch] for each commit and a [Heartbeat] each
// second, over a [Feed], and answers catch-ups over HTTP ([Answer]). A service
//
//   - opens a [Feed], verifies what it delivers with [ParseMessage],
//   - passes the messages, the answers and the time to a [Tracker], which decides what is applied,
//     what is missing, how fresh that is and what to fetch,
//   - applies the tracker's events to a [Denylist] and asks it about its tokens.
//
// Package validator does all of this; use this package directly only to write another feed or
// another follower. Sub-packages have the feeds over NATS (natsfeed) and HTTP (httpfeed) and the broker's
// durable record (ledger).
//
// Only a verified message changes anything or creates an expectation, and replays change
// nothing. Freshness is proved, never assumed: see [State].
package revocation

// Kind is what an [Event] revokes.
type Kind string

// The kinds of revocation. Value is the claim's exact text (empty for KindAll).
const (
	KindJTI    Kind = "jti"    // one access token
	KindSID    Kind = "sid"    // one session
	KindSub    Kind = "sub"    // a subject's tokens with sep < Epoch
	KindClient Kind = "client" // a client's tokens with cep < Epoch
	KindKID    Kind = "kid"    // every token signed with that key, permanently
	KindAll    Kind = "all"    // every token with sep < Epoch
)

// Reason is the stable code that says why something was revoked.
type Reason string

// The reasons of a revocation.
const (
	ReasonLogoff        Reason = "logoff"
	ReasonReuse         Reason = "reuse"
	ReasonRollback      Reason = "rollback"
	ReasonRevoked       Reason = "revoked"
	ReasonUserDisabled  Reason = "user_disabled"
	ReasonAllOthers     Reason = "all_others"
	ReasonBackchannel   Reason = "backchannel"
	ReasonUpstream      Reason = "upstream"
	ReasonKeyCompromise Reason = "key_compromise"
	ReasonRestore       Reason = "restore"
)

// Event revokes tokens until ExpiresAt, when the last token it can hit has expired.
// Times are Unix seconds by the broker's clock.
type Event struct {
	Kind      Kind   `json:"kind"`
	Value     string `json:"value"`
	ExpiresAt int64  `json:"expires_at"`
	At        int64  `json:"at"`
	Reason    Reason `json:"reason"`
	// Epoch is used by KindSub, KindClient and KindAll: tokens with a lower epoch are revoked.
	Epoch int64 `json:"epoch,omitempty"`
	// By is the operator who revoked, or empty. It is only in the broker's record; no message or
	// answer of the protocol contains it.
	By string `json:"-"`
}

// Subject names the part of a verified token that events can hit.
type Subject struct {
	JTI, SID, Sub, ClientID, KID string
	SEP, CEP                     int64
}

// Recorded is an event as the ledger stores it, with the batch that contains it. Origin is empty
// for a compromised key that is only in the keyring.
type Recorded struct {
	Event
	// By is the operator who revoked. If empty, it was not an operator; see Reason.
	By     string `json:"by,omitempty"`
	Origin string `json:"origin,omitempty"`
	Seq    uint64 `json:"seq,omitempty"`
}
