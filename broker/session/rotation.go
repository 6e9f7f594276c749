package session

import (
	"bytes"
	"crypto/sha256"
	"time"

	"tokenbroker/revocation"
)

// step rotates the refresh token, or detects that it is reused (docs/design.md §6).
func (m Rotate) step(now time.Time, p Policy, st State) Effects {
	if refusal := admit(st, m.SecretHash, m.Channel, m.ClientID); refusal != "" {
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
	case supersededWithin(now, p.of(s).Grace, s, m.Generation) && !otherClient(s.Source, m.Source):
		eff := replay(now, p, s, st.User)
		eff.AddressChanged = otherAddress(s.Source, m.Source)
		return eff
	default:
		return end(now, st, revocation.ReasonReuse, RefuseReused)
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

// replay answers a superseded token within the grace. It does not rotate, and it writes only if
// the latest recorded exp is too near for another token.
func replay(now time.Time, p Policy, s *Session, u *User) Effects {
	if life := p.of(s).AccessLife; time.Unix(s.TokenExp, 0).Sub(now) >= life/2 {
		exp := min(s.TokenExp, now.Add(life).Unix())
		return Effects{Session: s, User: u, IssuedAt: now.Unix(), ExpiresAt: exp, Replayed: true}
	}
	next := s.clone()
	eff := issue(now, p, next, u)
	eff.PutSession = next
	eff.Replayed = true
	return eff
}

// Inspect reports whether a presented token's session is active and the token current or within
// the grace, without using the token. For any other token of the session it returns
// RefuseSuperseded and does not end the session, because a slow browser tab may have sent it. A
// generation ahead of the record is left to Rotate, which ends the session.
func Inspect(now time.Time, p Policy, st State, m Rotate) Refusal {
	if refusal := admit(st, m.SecretHash, m.Channel, m.ClientID); refusal != "" {
		return refusal
	}
	if refusal := Judge(now, p, st); refusal != "" {
		return refusal
	}
	if m.Generation < st.Session.Generation && !supersededWithin(now, p.of(st.Session).Grace, st.Session, m.Generation) {
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
