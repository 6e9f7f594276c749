// Package session is the pure core of the broker's sessions. It decides what a message changes
// in a user's records, only from the time, the state and the message.
//
// [Step] has no goroutine, no clock and no I/O. Its caller, a session shard of package
// commit, reads the state from the store, calls Step, and performs the [Effects] in this order: persist, then
// reply, then broadcast.
package session

import (
	"time"

	"tokenbroker/revocation"
)

// EventMargin is added to the expiry of the last token that an event can revoke. It covers the
// leeway of other JWT validators, with a margin.
const EventMargin = 2 * time.Minute

// TombstoneLife is the time for which an ended session's record is kept after the session's absolute end.
const TombstoneLife = 24 * time.Hour

// State is the state on which a decision depends. The caller reads it immediately before the decision.
// A record that is nil does not exist.
type State struct {
	User    *User
	Session *Session
	// Floor and ClientEpoch are the lowest valid sep and cep: sessions with lower ones are revoked.
	Floor       int64
	ClientEpoch int64
	// Denylisted reports whether the broker's own denylist has this session.
	Denylisted bool
	// Used reports whether the proof on which an Open is based was exchanged before.
	Used bool
	// TimeFloor (Unix s) is a time that every service's clock has passed: a token that expired
	// before it needs no event.
	TimeFloor int64
	// Browser is the state of the browser session of a dependent grant (see [Session.Dependent]) and, for an Open with a
	// BrowserSID, of that session. A state whose Session is nil, or no state, is that of a session that does not exist.
	Browser *State
	// Listed are the sids of the user's sessions that may be active, oldest first. Only an Open
	// needs them. If there are MaxSessions of them, it also needs Earlier: the states of those
	// sessions, without the ones that can no longer be used.
	Listed  []string
	Earlier []State
}

// Message is one of [Open], [Rotate], [EndSession] and [Revoke], or of the changes of a user: [Allow],
// [UpdateUser], [EnableUser], [DisableUser], [SetPassword], [RevokeUser] and [RemoveUser].
type Message interface {
	step(now time.Time, p Policy, st State) Effects
}

// Open creates a session for an authenticated user: a browser session or, on the channel oauth, the grant of a client.
//
// The sid of a grant is in the authorization code, so the existence of a session with it means that the code was used
// before: that session ends because of reuse, and the Open is refused with RefuseExists. An Open of the channel cookie with the
// sid of a session is only refused.
type Open struct {
	SID        string
	SecretHash []byte
	Channel    Channel
	ClientID   string
	Scope      string
	ACR        string
	AMR        []string
	Device     string
	// AuthTime (Unix s) is when the user authenticated. If zero, it is the time of the step.
	AuthTime int64
	// Provider is the identity provider of the login, UpstreamSID the session there.
	Provider, UpstreamSID string
	// UpstreamIssuer and UpstreamSubject are the account that signed in.
	UpstreamIssuer, UpstreamSubject string
	// ByPassword means that the user's password was verified when its serial was PasswordSerial.
	ByPassword     bool
	PasswordSerial int64
	// Profile replaces the stored profile of the user's upstream account. If nil, the stored one stays.
	Profile *Profile
	// Source identifies the client that signed in (see [NewSource]).
	Source []byte

	// The members below are those of [Session] with the same names. A grant with a BrowserSID is refused with
	// RefuseBrowserEnded unless that is an active browser session of the user. If the grant is not Offline, it is added to the
	// browser session's Grants, and ends the oldest of them if there are already 64.
	Audience                          []string
	BrowserSID                        string
	Offline                           bool
	UserInfoClaims, IDTokenClaims     []string
	AccessS, IdleS, AbsoluteS, GraceS int64
	// ClientEpoch is the epoch of the grant's client when the client authenticated. If the client's tokens were revoked since then,
	// the Open is refused with RefuseRevoked.
	ClientEpoch int64
}

// Profile is the part of a user's record that each login takes from the upstream account.
type Profile struct {
	Username   string
	Groups     []string
	Attributes map[string]any
}

// Rotate presents a refresh token whose MAC was valid.
type Rotate struct {
	Generation uint32
	SecretHash []byte
	Channel    Channel
	// ClientID is the client that presented the token. If it is empty, the session may belong to any client.
	ClientID string
	// Source identifies the client that sent the request (see [NewSource]).
	Source []byte
}

// EndSession ends a session by its own refresh token, of any generation.
type EndSession struct {
	SecretHash []byte
	Channel    Channel
	// ClientID is the client that presented the token. If it is empty, the session may belong to any client.
	ClientID string
	Reason   revocation.Reason
}

// Revoke ends a session of any channel at the request of an operator or a provider.
type Revoke struct {
	Reason revocation.Reason
}

// Refusal is the reason why [Step] refuses a message. It is empty if Step does not refuse.
type Refusal string

// The refusals of Step.
const (
	RefuseUnknown      Refusal = "unknown"          // no such session, or no such user
	RefuseExists       Refusal = "exists"           // Open with a sid that exists
	RefuseSecret       Refusal = "wrong_secret"     // valid MAC, wrong secret: the store is unchanged
	RefuseChannel      Refusal = "wrong_channel"    // a token of the other channel: the store is unchanged
	RefuseExpired      Refusal = "expired"          // idle or absolute expiry
	RefuseEnded        Refusal = "ended"            // logged off
	RefuseRevoked      Refusal = "revoked"          // revoked by an operator, an epoch or an event
	RefuseReused       Refusal = "reused"           // an old generation outside the grace, or from another client
	RefuseSuperseded   Refusal = "superseded"       // the same, where it does not count as reuse
	RefuseAhead        Refusal = "generation_ahead" // a generation that was never issued: the store was rolled back
	RefuseUserDisabled Refusal = "user_disabled"
	RefuseClient       Refusal = "wrong_client"     // a token of another client: the store is unchanged
	RefuseBrowserEnded Refusal = "browser_ended"    // Open of a grant whose browser session is not active
	RefuseUsed         Refusal = "already_used"     // Open with a proof that was exchanged before
	RefusePassword     Refusal = "password_changed" // Open by a password that was replaced since its verification
)

// Effects is the decision of Step. The caller persists the records and events as one change,
// then replies with the rest, then broadcasts.
type Effects struct {
	PutUser    *User
	PutSession *Session
	// PutBrowser is the browser session with the new grant of an Open in its Grants.
	PutBrowser *Session
	Events     []revocation.Event
	// RemoveUser means that the user's record and the links of its accounts are to be deleted.
	RemoveUser bool
	// Ended are the sessions that were ended because of MaxSessions. Their events are in Events.
	Ended []*Session
	// EndGrants are the sids of the grants that end with the ended sessions. The same change has to end each of them, by
	// a Revoke with EndReason. Package commit adds those that were still active to Ended, and their events to Events.
	EndGrants []string
	EndReason revocation.Reason
	// PutListed is the new State.Listed. If nil, it is unchanged.
	PutListed []string
	// EndTokens, if not empty, is the reason for which all earlier sessions and tokens of the user
	// end: the same change sets a new epoch of the user and records its event. No other message
	// of the user can be decided until that epoch is on disk.
	EndTokens revocation.Reason

	Refusal Refusal
	// Session is the state to reply with. It is nil with RefuseUnknown and RefuseSecret.
	Session *Session
	User    *User
	// IssuedAt and ExpiresAt are the iat and exp of the access token to sign.
	IssuedAt, ExpiresAt int64
	// Replayed means that a superseded token was presented within the grace; nothing was rotated.
	Replayed bool
	// AddressChanged means that the rotation, or the replay, came from another address than the
	// latest rotation before it.
	AddressChanged bool
}
