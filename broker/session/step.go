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
	case st.Session != nil && m.Channel == ChannelOAuth && st.Session.Channel == ChannelOAuth && st.Session.Ended == nil:
		return end(now, st, revocation.ReasonReuse, RefuseExists)
	case st.Session != nil:
		return Effects{Refusal: RefuseExists}
	case st.Used:
		return Effects{Refusal: RefuseUsed}
	case m.BrowserSID != "" && judgeBrowser(now, p, st) != "":
		return Effects{Refusal: RefuseBrowserEnded}
	case m.Channel == ChannelOAuth && m.ClientEpoch < st.ClientEpoch:
		return Effects{Refusal: RefuseRevoked}
	}
	user := *st.User
	if m.BrowserSID == "" {
		user.LastLogin = now.Unix()
	}
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
		Audience: m.Audience, BrowserSID: m.BrowserSID, Offline: m.Offline, UserInfoClaims: m.UserInfoClaims, IDTokenClaims: m.IDTokenClaims,
		AccessS: m.AccessS, IdleS: m.IdleS, AbsoluteS: m.AbsoluteS, GraceS: m.GraceS,
	}
	eff := issue(now, p, s, &user)
	if m.BrowserSID == "" { // otherwise the user signed in before, and the record stays the same
		eff.PutUser = &user
	}
	eff.PutSession = s
	eff.makeRoom(now, p, st)
	eff.PutListed = append(eff.PutListed, s.SID)
	if s.Dependent() {
		eff.addGrant(st.Browser.Session)
	}
	return eff
}

// maxGrants is how many dependent grants a browser session has at most, which bounds the size of the change that ends it.
const maxGrants = 64

// addGrant adds the new grant to its browser session.
func (eff *Effects) addGrant(browser *Session) {
	eff.PutBrowser = browser.clone()
	grants := append(slices.Clone(browser.Grants), eff.PutSession.SID)
	if over := len(grants) - maxGrants; over > 0 {
		eff.endGrants(revocation.ReasonRevoked, grants[:over])
		grants = grants[over:]
	}
	eff.PutBrowser.Grants = grants
}

func (eff *Effects) endGrants(reason revocation.Reason, sids []string) {
	if len(sids) > 0 {
		eff.EndGrants, eff.EndReason = append(eff.EndGrants, sids...), reason
	}
}

// maxEnded is how many sessions one Open ends at most, which bounds the size of its change. If more
// are active, the next Opens end the rest.
const maxEnded = 250

// makeRoom lists the earlier sessions that stay when a new one starts, and ends those that exceed MaxSessions with it:
// first the oldest dependent grants, then the oldest others. A new grant never ends a browser session, because single sign-on
// opens grants without asking the user. So a user with MaxSessions browser sessions can have one grant in addition.
func (eff *Effects) makeRoom(now time.Time, p Policy, st State) {
	if len(st.Listed) < p.MaxSessions {
		eff.PutListed = slices.Clone(st.Listed)
		return
	}
	alive := slices.DeleteFunc(slices.Clone(st.Earlier), func(one State) bool { return Judge(now, p, one) != "" })
	over := min(max(len(alive)+1-p.MaxSessions, 0), maxEnded)
	order := slices.Clone(alive)
	slices.SortStableFunc(order, func(a, b State) int { return displaced(a.Session) - displaced(b.Session) })
	if eff.PutSession.Channel == ChannelOAuth {
		order = slices.DeleteFunc(order, func(one State) bool { return one.Session.Channel != ChannelOAuth })
	}
	leaves := make(map[string]bool, over)
	for _, one := range order[:min(over, len(order))] {
		leaves[one.Session.SID] = true
		ended := end(now, one, revocation.ReasonRevoked, "")
		eff.Ended = append(eff.Ended, ended.PutSession)
		eff.Events = append(eff.Events, ended.Events...)
		eff.endGrants(revocation.ReasonRevoked, ended.EndGrants)
	}
	for _, one := range alive {
		if !leaves[one.Session.SID] {
			eff.PutListed = append(eff.PutListed, one.Session.SID)
		}
	}
}

// displaced returns the place of a session in the order in which sessions make room; those of one place are in the order of
// their age.
func displaced(s *Session) int {
	if s.Dependent() {
		return 0
	}
	return 1
}

func (m EndSession) step(now time.Time, p Policy, st State) Effects {
	if refusal := admit(st, m.SecretHash, m.Channel, m.ClientID); refusal != "" {
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
func admit(st State, secretHash []byte, channel Channel, clientID string) Refusal {
	switch {
	case st.Session == nil:
		return RefuseUnknown
	case subtle.ConstantTimeCompare(st.Session.SecretHash, secretHash) != 1:
		return RefuseSecret
	case st.Session.Channel != channel:
		return RefuseChannel
	case clientID != "" && clientID != st.Session.ClientID:
		return RefuseClient
	}
	return ""
}

// Judge reports whether the session in st is active at now, for any presented token. The result
// is empty if it is. A dependent grant is active only while its browser session is; otherwise it is refused for the reason of that
// session.
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
	case s.Dependent():
		return judgeBrowser(now, p, st)
	}
	return ""
}

// judgeBrowser is Judge for the browser session of the grant in st, or of the one to open.
func judgeBrowser(now time.Time, p Policy, st State) Refusal {
	switch b := st.Browser; {
	case b == nil || b.Session == nil: // its tombstone is no longer kept
		return RefuseExpired
	case b.Session.Channel != ChannelCookie, b.Session.Dependent(), b.Session.UID != st.User.UID:
		return RefuseRevoked
	default:
		return Judge(now, p, *b)
	}
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
	exp := now.Add(p.of(s).AccessLife).Unix()
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
	eff.endGrants(reason, dead.Grants)
	return eff
}
