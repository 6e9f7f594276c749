package session

import (
	"bytes"
	"time"

	"tokenbroker/revocation"
)

// The messages below are operators' changes of a user's record. They belong to no session.

// UpdateUser replaces attributes, roles or both; nil leaves them.
type UpdateUser struct {
	Attributes map[string]any
	Roles      []string
}

// EnableUser lets a disabled user sign in again; what an epoch ended stays dead.
type EnableUser struct{}

// DisableUser keeps the user from signing in and ends everything made before.
type DisableUser struct{}

// SetPassword replaces the password and, unless KeepSessions, ends everything made before.
type SetPassword struct {
	Hash         string
	KeepSessions bool
}

// RevokeUser ends everything made before; the user can sign in again.
type RevokeUser struct {
	Reason revocation.Reason
}

// RemoveUser forgets the user and ends everything made before.
type RemoveUser struct{}

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

// edit changes a copy of the user's record; with ends, what was made before it dies with the
// change. Without, a change that changes nothing is none.
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
