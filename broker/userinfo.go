package broker

import (
	"slices"
	"time"

	"tokenbroker/broker/session"
)

// userInfo is what operators see of a user.
func userInfo(u *session.User) UserInfo {
	info := UserInfo{
		UID: u.UID, Username: u.Username, Accounts: []Account{}, HasPassword: u.PasswordHash != "", Disabled: u.Disabled,
		Attributes: u.Attributes, Roles: u.Roles, Groups: u.Groups,
		CreatedAt: time.Unix(u.CreatedAt, 0).UTC(), Epoch: u.Epoch,
	}
	if u.LastLogin != 0 {
		info.LastLogin = time.Unix(u.LastLogin, 0).UTC()
	}
	for _, a := range accountsOf(u) {
		info.Accounts = append(info.Accounts, Account(a))
	}
	return info
}

// accountsOf are the accounts that are linked to the user. A record of an older version
// names none: the local one is known by its password.
func accountsOf(u *session.User) []session.Account {
	if len(u.Accounts) == 0 && u.PasswordHash != "" {
		return []session.Account{{Issuer: LocalIssuer, Subject: u.Username}}
	}
	return u.Accounts
}

// hasLocalName reports whether one of the user's accounts is a local one, of the name that the
// user has now: a login through a linked provider replaces the name by the provider's.
func hasLocalName(u *session.User) bool {
	return slices.Contains(accountsOf(u), session.Account{Issuer: LocalIssuer, Subject: u.Username})
}
