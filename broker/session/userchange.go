package session

import (
	"bytes"
	"slices"
	"time"

	"tokenbroker/revocation"
)

// The messages below are operators' changes of a user's record. They do not belong to a session.

// UpdateUser replaces attributes, roles or both. A nil field is unchanged.
type UpdateUser struct {
	Attributes map[string]any
	Roles      []string
}

// EnableUser lets a disabled user sign in again. Sessions that an epoch ended stay ended.
type EnableUser struct{}

// DisableUser keeps the user from signing in and ends all earlier sessions and tokens.
type DisableUser struct{}

// SetPassword replaces the password and, unless KeepSessions is set, ends all earlier sessions and
// tokens.
type SetPassword struct {
	Hash         string
	KeepSessions bool
}

// RevokeUser ends all earlier sessions and tokens. The user can sign in again.
type RevokeUser struct {
	Reason revocation.Reason
}

// RemoveUser deletes the user and ends all earlier sessions and tokens.
type RemoveUser struct{}

// Allow remembers that the user allowed a client the scopes, in addition to those that the user allowed it before.
type Allow struct {
	ClientID string
	Scopes   []string
}

// maxConsents is how many clients a user's record remembers. The client that was allowed least recently is forgotten first.
const maxConsents = 50

func (m Allow) step(now time.Time, _ Policy, st State) Effects {
	if st.User != nil && st.User.Disabled {
		return Effects{Refusal: RefuseUserDisabled}
	}
	return edit(st, "", func(u *User) {
		consent := Consent{ClientID: m.ClientID, At: now.Unix()}
		var kept []Consent
		for _, earlier := range u.Consents {
			if earlier.ClientID == m.ClientID {
				consent.Scopes = append(consent.Scopes, earlier.Scopes...)
			} else {
				kept = append(kept, earlier)
			}
		}
		for _, scope := range m.Scopes {
			if !slices.Contains(consent.Scopes, scope) {
				consent.Scopes = append(consent.Scopes, scope)
			}
		}
		u.Consents = append(kept[max(0, len(kept)+1-maxConsents):], consent)
	})
}

func (m UpdateUser) step(_ time.Time, _ Policy, st State) Effects {
	return edit(st, "", func(u *User) {
		if m.Attributes != nil {
			u.Attributes = m.Attributes
		}
		if m.Roles != nil {
			u.Roles = m.Roles
		}
	})
}

func (EnableUser) step(_ time.Time, _ Policy, st State) Effects {
	return edit(st, "", func(u *User) { u.Disabled = false })
}

func (DisableUser) step(_ time.Time, _ Policy, st State) Effects {
	if st.User != nil && st.User.Disabled {
		return Effects{User: st.User}
	}
	return edit(st, revocation.ReasonUserDisabled, func(u *User) { u.Disabled = true })
}

func (m SetPassword) step(_ time.Time, _ Policy, st State) Effects {
	ends := revocation.ReasonRevoked
	if m.KeepSessions {
		ends = ""
	}
	return edit(st, ends, func(u *User) {
		u.PasswordHash = m.Hash
		u.PasswordSerial++
	})
}

func (m RevokeUser) step(_ time.Time, _ Policy, st State) Effects {
	return edit(st, m.Reason, func(*User) {})
}

func (RemoveUser) step(_ time.Time, _ Policy, st State) Effects {
	eff := edit(st, revocation.ReasonRevoked, func(*User) {})
	eff.RemoveUser = eff.PutUser != nil
	eff.PutUser = nil
	return eff
}

// edit changes a copy of the user's record. If ends is set, the change also ends all earlier
// sessions and tokens for that reason. Otherwise nothing is written if the record stays the same.
func edit(st State, ends revocation.Reason, change func(*User)) Effects {
	if st.User == nil {
		return Effects{Refusal: RefuseUnknown}
	}
	user := *st.User
	change(&user)
	if ends == "" && sameRecord(st.User, &user) {
		return Effects{User: st.User}
	}
	return Effects{PutUser: &user, User: &user, EndTokens: ends}
}

func sameRecord(a, b *User) bool {
	one, errOne := a.Encode()
	other, errOther := b.Encode()
	return errOne == nil && errOther == nil && bytes.Equal(one, other)
}
