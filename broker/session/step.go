package session

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"math"
	"slices"
	"time"

	"tokenbroker/revocation"
)

// Step decides what msg changes in st at now, by the broker's clock. It modifies neither.
func Step(now time.Time, p Policy, st State, msg Message) Effects {
	return msg.step(now, p, st)
}

func (m Open) step(now time.Time, p Policy, st State) Effects {
	switch {
	case st.User == nil:
		return Effects{Refusal: RefuseUnknown}
	case st.User.Disabled:
		return Effects{Refusal: RefuseUserDisabled}
	case m.ByPassword && m.PasswordSerial != st.User.PasswordSerial:
		return Effects{Refusal: RefusePassword}
	case st.Session != nil:
		return Effects{Refusal: RefuseExists}
	case st.Used:
		return Effects{Refusal: RefuseUsed}
	}
	user := *st.User
	user.LastLogin = now.Unix()
	if p := m.Profile; p != nil {
		if len(user.Accounts) == 0 { // a record older than Groups: its roles were the provider's
			user.Roles = nil
		}
		user.Username, user.Groups, user.Attributes = p.Username, p.Groups, p.Attributes
	}
	account := Account{Issuer: m.UpstreamIssuer, Subject: m.UpstreamSubject}
	if account != (Account{}) && !slices.Contains(user.Accounts, account) {
		user.Accounts = append(slices.Clone(user.Accounts), account)
	}
	authTime := m.AuthTime
	if authTime == 0 {
		authTime = now.Unix()
	}
	s := &Session{
		V: recordVersion, UID: user.UID, SID: m.SID, Channel: m.Channel, ClientID: m.ClientID,
		Scope: m.Scope, Generation: 1, SecretHash: m.SecretHash, Source: m.Source,
		SEP: max(user.Epoch, st.Floor), CEP: max(st.ClientEpoch, st.Floor),
		AuthTime: authTime, ACR: m.ACR, AMR: m.AMR, Device: m.Device, Provider: m.Provider, UpstreamSID: m.UpstreamSID,
		UpstreamIssuer: m.UpstreamIssuer, UpstreamSubject: m.UpstreamSubject,
		CreatedAt: now.Unix(), LastUsed: now.Unix(),
	}
	eff := issue(now, p, s, &user)
	eff.PutUser = &user
	eff.PutSession = s
	eff.makeRoom(now, p, st)
	eff.PutListed = append(eff.PutListed, s.SID)
	return eff
}

// maxEnded is how many sessions one Open ends at most, which bounds the size of its change. If more
// are active, the next Opens end the rest.
const maxEnded = 250

// makeRoom lists the earlier sessions that stay when a new one starts, and ends the oldest ones
// that exceed MaxSessions with it.
func (eff *Effects) makeRoom(now time.Time, p Policy, st State) {
	if len(st.Listed) < p.MaxSessions {
		eff.PutListed = slices.Clone(st.Listed)
		return
	}
	alive := slices.DeleteFunc(slices.Clone(st.Earlier), func(one State) bool { return Judge(now, p, one) != "" })
	over := min(max(len(alive)+1-p.MaxSessions, 0), maxEnded)
	for i, one := range alive {
		if i >= over {
			eff.PutListed = append(eff.PutListed, one.Session.SID)
			continue
		}
		ended := end(now, one, revocation.ReasonRevoked, "")
		eff.Ended = append(eff.Ended, ended.PutSession)
		eff.Events = append(eff.Events, ended.Events...)
	}
}

func (m Rotate) step(now time.Time, p Policy, st State) Effects {
	if refusal := admit(st, m.SecretHash, m.Channel); refusal != "" {
		return Effects{Refusal: refusal}
	}
	s := st.Session
	if refusal := Judge(now, p, st); refusal != "" {
		return Effects{Refusal: refusal, Session: s, User: st.User}
	}
	switch {
	case m.Generation > s.Generation:
		return end(now, st, revocation.ReasonRollback, RefuseAhead)
	case m.Generation == s.Generation:
		next := s.clone()
		next.Generation++
		next.RotationsMS = append([]int64{now.UnixMilli()}, next.RotationsMS...)
		next.RotationsMS = next.RotationsMS[:min(len(next.RotationsMS), keptRotations)]
		next.LastUsed = now.Unix()
		next.Source = m.Source
		eff := issue(now, p, next, st.User)
		eff.PutSession = next
		eff.AddressChanged = otherAddress(s.Source, m.Source)
		return eff
	case supersededWithin(now, p.Grace, s, m.Generation) && !otherClient(s.Source, m.Source):
		eff := replay(now, p, s, st.User)
		eff.AddressChanged = otherAddress(s.Source, m.Source)
		return eff
	default:
		return end(now, st, revocation.ReasonReuse, RefuseReused)
	}
}

func (m EndSession) step(now time.Time, p Policy, st State) Effects {
	if refusal := admit(st, m.SecretHash, m.Channel); refusal != "" {
		return Effects{Refusal: refusal}
	}
	if st.Session.Ended != nil {
		return Effects{Session: st.Session, User: st.User}
	}
	return end(now, st, m.Reason, "")
}

func (m Revoke) step(now time.Time, p Policy, st State) Effects {
	switch {
	case st.Session == nil:
		return Effects{Refusal: RefuseUnknown}
	case st.Session.Ended != nil:
		return Effects{Session: st.Session, User: st.User}
	}
	return end(now, st, m.Reason, "")
}

// admit checks that the presented token belongs to this session.
func admit(st State, secretHash []byte, channel Channel) Refusal {
	switch {
	case st.Session == nil:
		return RefuseUnknown
	case subtle.ConstantTimeCompare(st.Session.SecretHash, secretHash) != 1:
		return RefuseSecret
	case st.Session.Channel != channel:
		return RefuseChannel
	}
	return ""
}

// Judge reports whether the session in st is active at now, for any presented token. The result
// is empty if it is.
func Judge(now time.Time, p Policy, st State) Refusal {
	s := st.Session
	switch {
	case s == nil:
		return RefuseUnknown
	case s.Ended != nil:
		return endedRefusal(s.Ended.Reason)
	case !now.Before(s.EndsAt(p)), s.Generation == math.MaxUint32: // the next generation would be 0 again
		return RefuseExpired
	case st.User == nil:
		return RefuseRevoked
	case st.User.Disabled:
		return RefuseUserDisabled
	case s.SEP < max(st.User.Epoch, st.Floor), s.CEP < max(st.ClientEpoch, st.Floor), st.Denylisted:
		return RefuseRevoked
	}
	return ""
}

func endedRefusal(reason revocation.Reason) Refusal {
	switch reason {
	case revocation.ReasonLogoff:
		return RefuseEnded
	case revocation.ReasonReuse:
		return RefuseReused
	case revocation.ReasonRollback:
		return RefuseAhead
	case revocation.ReasonUserDisabled:
		return RefuseUserDisabled
	default:
		return RefuseRevoked
	}
}

// supersededWithin reports whether generation was superseded less than grace ago. The rotation
// from g to g+1 is the (current-1-g)th latest. Only the latest gracedRotations count.
func supersededWithin(now time.Time, grace time.Duration, s *Session, generation uint32) bool {
	age := int64(s.Generation) - 1 - int64(generation)
	if generation == 0 || age < 0 || age >= int64(min(len(s.RotationsMS), gracedRotations)) {
		return false
	}
	// A rotation in the future (the clock was set back) counts as one equally far in the past.
	return now.Sub(time.UnixMilli(s.RotationsMS[age])).Abs() < grace
}

// issue sets iat and exp of the session's next access token.
func issue(now time.Time, p Policy, s *Session, u *User) Effects {
	exp := now.Add(p.AccessLife).Unix()
	s.TokenExp = max(s.TokenExp, exp)
	return Effects{Session: s, User: u, IssuedAt: now.Unix(), ExpiresAt: exp}
}

// replay answers a superseded token within the grace. It does not rotate, and it writes only if
// the latest recorded exp is too near for another token.
func replay(now time.Time, p Policy, s *Session, u *User) Effects {
	if time.Unix(s.TokenExp, 0).Sub(now) >= p.AccessLife/2 {
		exp := min(s.TokenExp, now.Add(p.AccessLife).Unix())
		return Effects{Session: s, User: u, IssuedAt: now.Unix(), ExpiresAt: exp, Replayed: true}
	}
	next := s.clone()
	eff := issue(now, p, next, u)
	eff.PutSession = next
	eff.Replayed = true
	return eff
}

// end creates the tombstone of st's session, and the event that is stored with it unless all
// tokens of the session have expired by every service's clock.
func end(now time.Time, st State, reason revocation.Reason, refusal Refusal) Effects {
	const margin = int64(EventMargin / time.Second)
	dead := st.Session.clone()
	dead.Ended = &End{Reason: reason, At: now.Unix()}
	eff := Effects{PutSession: dead, Refusal: refusal, Session: dead, User: st.User}
	if dead.TokenExp+margin > st.TimeFloor {
		eff.Events = []revocation.Event{{
			Kind: revocation.KindSID, Value: dead.SID, At: now.Unix(), Reason: reason,
			ExpiresAt: max(dead.TokenExp, now.Unix()) + margin,
		}}
	}
	return eff
}

// Inspect reports whether a presented token's session is active and the token current or within
// the grace, without using the token. For any other token of the session it returns
// RefuseSuperseded and does not end the session, because a slow browser tab may have sent it. A
// generation ahead of the record is left to Rotate, which ends the session.
func Inspect(now time.Time, p Policy, st State, m Rotate) Refusal {
	if refusal := admit(st, m.SecretHash, m.Channel); refusal != "" {
		return refusal
	}
	if refusal := Judge(now, p, st); refusal != "" {
		return refusal
	}
	if m.Generation < st.Session.Generation && !supersededWithin(now, p.Grace, st.Session, m.Generation) {
		return RefuseSuperseded
	}
	return ""
}

// sourcePart is the length in bytes of each of the two hashes of a source.
const sourcePart = 8

// NewSource returns the source of a request, as a session's record stores it: a short hash of the
// address and one of the user agent. Both are keyed with the secret of the session's refresh
// token, which is not in the store. So the record reveals neither of them, and the sources of two
// sessions cannot be compared.
func NewSource(secret []byte, addr, userAgent string) []byte {
	source := make([]byte, 0, 2*sourcePart)
	for i, text := range [...]string{addr, userAgent} {
		var buf [512]byte
		sum := sha256.Sum256(append(append(append(buf[:0], secret...), byte(i)), text...))
		source = append(source, sum[:sourcePart]...)
	}
	return source
}

// otherAddress reports whether two sources differ in the address. An unknown source does not
// differ.
func otherAddress(a, b []byte) bool {
	return known(a, b) && !bytes.Equal(a[:sourcePart], b[:sourcePart])
}

// otherClient reports whether two sources differ in both the address and the user agent. A browser
// may change its network or be updated, but is unlikely to do both within a grace.
func otherClient(a, b []byte) bool {
	return otherAddress(a, b) && !bytes.Equal(a[sourcePart:], b[sourcePart:])
}

func known(a, b []byte) bool { return len(a) == 2*sourcePart && len(b) == 2*sourcePart }
