package session

import (
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

// issue sets iat and exp of the session's next access token.
func issue(now time.Time, p Policy, s *Session, u *User) Effects {
	exp := now.Add(p.AccessLife).Unix()
	s.TokenExp = max(s.TokenExp, exp)
	return Effects{Session: s, User: u, IssuedAt: now.Unix(), ExpiresAt: exp}
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
