package session

import (
	"time"

	"tokenbroker/revocation"
)

// recordVersion is the version of the records of this package.
const recordVersion = 1

// gracedRotations is how many superseded generations can be within the grace. An older one is
// reuse, even if the grace has not ended.
const gracedRotations = 4

// keptRotations is how many rotation times a session keeps: those that superseded the graced
// generations, and the one that created the oldest of them.
const keptRotations = gracedRotations + 1

// Channel is the way in which a session's refresh token is sent. A token of one channel is never accepted on
// the other.
type Channel string

// The channels of a refresh token.
const (
	ChannelCookie Channel = "cookie"
	ChannelOAuth  Channel = "oauth"
)

// User is the record user.<uid>.
type User struct {
	V            int    `json:"v"`
	UID          string `json:"uid"`
	Username     string `json:"username,omitempty"`
	PasswordHash string `json:"password_hash,omitempty"`
	// PasswordSerial counts the passwords that were set. Rehashing the same password does not count.
	PasswordSerial int64          `json:"password_serial,omitempty"`
	Attributes     map[string]any `json:"attributes,omitempty"`
	// Roles are set by operators. Groups are those of the provider at the latest login.
	Roles    []string `json:"roles,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Disabled bool     `json:"disabled,omitempty"`
	// Accounts are the linked upstream accounts (records identity.<hash>). A link of an older
	// version is added at its next login.
	Accounts  []Account `json:"accounts,omitempty"`
	CreatedAt int64     `json:"created_at"`
	LastLogin int64     `json:"last_login,omitempty"`
	// Epoch is the lowest valid sep of this user's sessions.
	Epoch int64 `json:"epoch,omitempty"`
	// Consents are what the user allowed clients, the latest last.
	Consents []Consent `json:"consents,omitempty"`
}

// Consent is what a user allowed a client.
type Consent struct {
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
	At       int64    `json:"at"` // Unix s
}

// Account is an account at an issuer.
type Account struct {
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// End is the reason and the time (Unix seconds) of the end of a session.
type End struct {
	Reason revocation.Reason `json:"reason"`
	At     int64             `json:"at"`
}

// Session is the record session.<uid>.<sid>. Times are Unix seconds unless their name says otherwise.
type Session struct {
	V        int     `json:"v"`
	UID      string  `json:"uid"`
	SID      string  `json:"sid"`
	Channel  Channel `json:"channel"`
	ClientID string  `json:"client_id"`
	Scope    string  `json:"scope,omitempty"`
	// Generation counts rotations. The current refresh token carries it.
	Generation uint32 `json:"gen"`
	// RotationsMS holds the times (Unix ms) of the latest rotations, newest first.
	RotationsMS []int64 `json:"rot_ms,omitempty"`
	// SecretHash is the SHA-256 of the refresh token's secret.
	SecretHash []byte `json:"secret_hash"`
	// SEP and CEP are the session and client epochs at the session's creation.
	SEP      int64    `json:"sep"`
	CEP      int64    `json:"cep"`
	AuthTime int64    `json:"auth_time"`
	ACR      string   `json:"acr,omitempty"`
	AMR      []string `json:"amr,omitempty"`
	Device   string   `json:"device,omitempty"`
	// Provider is the identity provider of the login, UpstreamSID the session there.
	Provider    string `json:"provider,omitempty"`
	UpstreamSID string `json:"upstream_sid,omitempty"`
	// UpstreamIssuer and UpstreamSubject are the account that signed in.
	UpstreamIssuer  string `json:"upstream_iss,omitempty"`
	UpstreamSubject string `json:"upstream_sub,omitempty"`
	CreatedAt       int64  `json:"created_at"`
	LastUsed        int64  `json:"last_used"`
	// TokenExp is the latest exp of an access token signed for the session.
	TokenExp int64 `json:"token_exp"`
	// SIDExpires is the expiry of the record sid.<sid>; zero in an older record.
	SIDExpires int64 `json:"sid_expires,omitempty"`
	// Source identifies the client of the latest rotation, or of the sign-in before the first one
	// (see [NewSource]); nil in a record of an earlier version.
	Source []byte `json:"source,omitempty"`
	Ended  *End   `json:"ended,omitempty"`

	// The members below are those of a grant: a session of the channel oauth, which belongs to an OAuth client.

	// Audience is the aud of the grant's access tokens: audience names, then resource URIs.
	Audience []string `json:"aud,omitempty"`
	// BrowserSID is the browser session in which the user authorized the client. Unless the grant is Offline, it ends
	// with that session.
	BrowserSID string `json:"browser_sid,omitempty"`
	Offline    bool   `json:"offline,omitempty"`
	// UserInfoClaims and IDTokenClaims are the names that the claims parameter of the authorization request requested.
	UserInfoClaims []string `json:"userinfo_claims,omitempty"`
	IDTokenClaims  []string `json:"id_token_claims,omitempty"`
	// Lifetimes are those of the client when the grant was made, in seconds. If AbsoluteS is zero, all of them are those of the
	// Policy. AccessS is used only if it is shorter than the Policy's. If AccessS or IdleS is zero, it is the Policy's.
	AccessS   int64 `json:"access_s,omitempty"`
	IdleS     int64 `json:"idle_s,omitempty"`
	AbsoluteS int64 `json:"absolute_s,omitempty"`
	GraceS    int64 `json:"grace_s,omitempty"`

	// Grants are the sids of the grants that end with this browser session, oldest first.
	Grants []string `json:"grants,omitempty"`
}

// Dependent reports whether the session is a grant that ends with its browser session.
func (s *Session) Dependent() bool { return s.BrowserSID != "" && !s.Offline }

// clone returns a copy. Step can change it without changing s.
func (s *Session) clone() *Session {
	c := *s
	c.RotationsMS = append([]int64(nil), s.RotationsMS...)
	return &c
}

// IdleEnd returns the time at which the session expires if it is not used. A dependent grant may expire earlier, with its
// browser session, for this method and the next ones.
func (s *Session) IdleEnd(p Policy) time.Time {
	return time.Unix(s.LastUsed, 0).Add(p.of(s).Idle)
}

// AbsoluteEnd returns the time at which the session expires even if it is used.
func (s *Session) AbsoluteEnd(p Policy) time.Time {
	return time.Unix(s.CreatedAt, 0).Add(p.of(s).Absolute)
}

// EndsAt returns the earlier of IdleEnd and AbsoluteEnd.
func (s *Session) EndsAt(p Policy) time.Time {
	return earlier(s.IdleEnd(p), s.AbsoluteEnd(p))
}

// EndsAsOf returns the result of EndsAt at the time when the token of that generation was issued.
// A later rotation does not change it, so it reveals no later rotation to the holder of an old token.
func (s *Session) EndsAsOf(p Policy, generation uint32) time.Time {
	made := s.LastUsed
	if generation < s.Generation {
		made = s.madeBefore(generation)
	}
	return earlier(time.Unix(made, 0).Add(p.of(s).Idle), s.AbsoluteEnd(p))
}

// madeBefore returns when (Unix s) the token of an earlier generation was issued, or the earliest
// known rotation if that time is no longer known.
func (s *Session) madeBefore(generation uint32) int64 {
	if generation <= 1 || len(s.RotationsMS) == 0 {
		return s.CreatedAt
	}
	oldest := len(s.RotationsMS) - 1
	return s.RotationsMS[min(int64(s.Generation)-int64(generation), int64(oldest))] / 1000
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// NewUser returns a new user, as a first sign-in or an operator creates it.
func NewUser(uid, username, passwordHash string, attributes map[string]any, now time.Time) *User {
	return &User{
		V: recordVersion, UID: uid, Username: username, PasswordHash: passwordHash,
		Attributes: attributes, CreatedAt: now.Unix(),
	}
}
