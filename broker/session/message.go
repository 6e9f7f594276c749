// Package session is the pure core of the broker's sessions: what a message does to a
// user's records, decided from nothing but the time, the state and the message.
//
// [Step] has no goroutine, no clock and no I/O. The shell around it (the session shards
// of package commit) reads the state from the store, calls Step, and performs the
// [Effects] in this order: persist, then reply, then broadcast.
package session

import (
	"time"

	"tokenbroker/revocation"
)

// EventMargin is added to the end of the last token that an event can hit: the leeway
// that foreign validators of JWTs take, and a margin on top.
const EventMargin = 2 * time.Minute

// TombstoneLife is how long an ended session's record outlives the session's absolute end.
const TombstoneLife = 24 * time.Hour

// State is all that a decision rests on, read by the shell just before. A nil record
// does not exist.
type State struct {
	User    *User
	Session *Session
	// Floor and ClientEpoch: sessions made under a lower sep (cep) are dead.
	Floor       int64
	ClientEpoch int64
	// Denylisted is the answer of the broker's own denylist for this session.
	Denylisted bool
	// Used says that what an Open is exchanged for was exchanged before.
	Used bool
	// TimeFloor (Unix s) is a time that no clock of a service will be before again: a token
	// that ended by then needs no event.
	TimeFloor int64
	// Listed are the sids of the user's sessions that may be alive, oldest first. Only an Open
	// needs them, and only when there are MaxSessions of them it needs Earlier: what each is
	// judged by, without those that cannot be used any more.
	Listed  []string
	Earlier []State
}

// Message is one of [Open], [Rotate], [EndSession] and [Revoke], or of the changes of a user:
// [UpdateUser], [EnableUser], [DisableUser], [SetPassword], [RevokeUser] and [RemoveUser].
type Message interface {
	step(now time.Time, p Policy, st State) Effects
}

// Open makes a session for a user who has proved who they are.
type Open struct {
	SID        string
	SecretHash []byte
	Channel    Channel
	ClientID   string
	Scope      string
	ACR        string
	AMR        []string
	Device     string
	// AuthTime (Unix s) is when the user proved who they are; zero: now.
	AuthTime int64
	// Provider and UpstreamSID are where the login came from and the session there.
	Provider, UpstreamSID string
	// UpstreamIssuer and UpstreamSubject are the account that signed in.
	UpstreamIssuer, UpstreamSubject string
	// ByPassword: the user's password was verified when its serial was PasswordSerial.
	ByPassword     bool
	PasswordSerial int64
	// Profile replaces what is kept of the user's account upstream; nil leaves it.
	Profile *Profile
	// Source is where the sign-in came from (see [NewSource]).
	Source []byte
}

// Profile is what an upstream account says of a user, at each login anew.
type Profile struct {
	Username   string
	Groups     []string
	Attributes map[string]any
}

// Rotate presents a refresh token whose mac was good.
type Rotate struct {
	Generation uint32
	SecretHash []byte
	Channel    Channel
	// Source is where the request came from (see [NewSource]).
	Source []byte
}

// EndSession ends a session by its own refresh token (of whatever generation).
type EndSession struct {
	SecretHash []byte
	Channel    Channel
	Reason     revocation.Reason
}

// Revoke ends a session of any channel on somebody else's word: an operator's, a provider's.
type Revoke struct {
	Reason revocation.Reason
}

// Refusal is why Step refuses; empty when it does not.
type Refusal string

// The refusals of Step.
const (
	RefuseUnknown      Refusal = "unknown"          // no such session, or no such user
	RefuseExists       Refusal = "exists"           // Open under a sid that is taken
	RefuseSecret       Refusal = "wrong_secret"     // good mac, wrong secret: the store is unchanged
	RefuseChannel      Refusal = "wrong_channel"    // the other channel's token: the store is unchanged
	RefuseExpired      Refusal = "expired"          // idle or absolute end
	RefuseEnded        Refusal = "ended"            // a log-off
	RefuseRevoked      Refusal = "revoked"          // revoked by an operator, an epoch or an event
	RefuseReused       Refusal = "reused"           // an old generation outside the grace, or from elsewhere
	RefuseSuperseded   Refusal = "superseded"       // the same, where it does not count as reuse
	RefuseAhead        Refusal = "generation_ahead" // a generation that was never given: the store was rolled back
	RefuseUserDisabled Refusal = "user_disabled"
	RefuseUsed         Refusal = "already_used"     // Open for something that was exchanged before
	RefusePassword     Refusal = "password_changed" // Open by a password that was replaced meanwhile
)

// Effects is what Step decided. The shell persists the records and events as one change,
// then replies with the rest, then broadcasts.
type Effects struct {
	PutUser    *User
	PutSession *Session
	Events     []revocation.Event
	// RemoveUser: the user's record and the links of the accounts are to go.
	RemoveUser bool
	// Ended are the sessions that had to make room for a new one. Their events are in Events.
	Ended []*Session
	// PutListed is the new State.Listed; nil leaves it.
	PutListed []string
	// EndTokens, when not empty, ends all sessions and tokens of the user made before, for
	// that reason: the same change draws an epoch, the user's from then on, and records its
	// event. Nothing can be decided for the user until that epoch is on disk.
	EndTokens revocation.Reason

	Refusal Refusal
	// Session is the state to reply from (nil with RefuseUnknown and RefuseSecret).
	Session *Session
	User    *User
	// IssuedAt and ExpiresAt are the iat and exp of the access token to sign.
	IssuedAt, ExpiresAt int64
	// Replayed: a superseded token was presented within the grace; nothing was rotated.
	Replayed bool
	// AddressChanged: the rotation, or the replay, came from another address than the latest
	// rotation before it.
	AddressChanged bool
}
