package revocation

// Kind is what an [Event] revokes.
type Kind string

// The kinds of revocation. Value is the claim's exact text (empty for KindAll).
const (
	KindJTI    Kind = "jti"    // one access token
	KindSID    Kind = "sid"    // one session
	KindSub    Kind = "sub"    // a subject's tokens with sep < Epoch
	KindClient Kind = "client" // a client's tokens with cep < Epoch
	KindKID    Kind = "kid"    // every token signed with that key, for ever
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

// Event revokes tokens until ExpiresAt, when the last token it can hit is dead.
// Times are Unix seconds by the broker's clock.
type Event struct {
	Kind      Kind   `json:"kind"`
	Value     string `json:"value"`
	ExpiresAt int64  `json:"expires_at"`
	At        int64  `json:"at"`
	Reason    Reason `json:"reason"`
	// Epoch of KindSub, KindClient and KindAll: tokens made under a lower one are dead.
	Epoch int64 `json:"epoch,omitempty"`
	// By is the operator who did it, or empty. It stays in the broker's record: no form of
	// the wire has it.
	By string `json:"-"`
}

// Subject names the part of a verified token that events can hit.
type Subject struct {
	JTI, SID, Sub, ClientID, KID string
	SEP, CEP                     int64
}
