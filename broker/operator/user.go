package operator

import (
	"context"
	"strings"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/session"
)

// NewUser is a local user to be created.
type NewUser struct {
	Username   string         `json:"username"`
	Password   string         `json:"password"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Roles      []string       `json:"roles,omitempty"`
	// InsecureSkipPasswordRules accepts any password that can be hashed. It MUST NOT be set except
	// for the well-known users of a development server, and in tests.
	InsecureSkipPasswordRules bool `json:"-"`
}

// Account is an account at an issuer. The accounts of [broker.LocalIssuer] are the broker's own.
type Account struct {
	Issuer  string `json:"issuer"`
	Subject string `json:"subject"`
}

// UserInfo describes a user to operators, without the password and its hash.
type UserInfo struct {
	UID      string `json:"uid"`
	Username string `json:"username"`
	// Accounts are the accounts by which the user can sign in.
	Accounts    []Account      `json:"accounts"`
	HasPassword bool           `json:"has_password"`
	Disabled    bool           `json:"disabled"`
	Attributes  map[string]any `json:"attributes,omitempty"`
	// Roles are set by operators. Groups are those of the provider's token at the latest login.
	Roles     []string  `json:"roles,omitempty"`
	Groups    []string  `json:"groups,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	LastLogin time.Time `json:"last_login,omitzero"`
	// Epoch ends all sessions and tokens with a lower one.
	Epoch int64 `json:"epoch,omitempty"`
}

// UserChange is a change of a user. A nil field is not changed.
type UserChange struct {
	Attributes map[string]any `json:"attributes,omitempty"`
	Roles      []string       `json:"roles,omitempty"`
}

// User returns one user. Errors: CodeUnknownUser.
func (svc *Service) User(ctx context.Context, ref string) (UserInfo, error) {
	user, err := svc.userByRef(ctx, ref)
	if err != nil {
		return UserInfo{}, commit.AppError(ctx, "reading a user", err)
	}
	return userInfo(user), nil
}

// userInfo describes a user to operators.
func userInfo(u *session.User) UserInfo {
	info := UserInfo{
		UID: u.UID, Username: u.Username, Accounts: []Account{}, HasPassword: u.PasswordHash != "", Disabled: u.Disabled,
		Attributes: u.Attributes, Roles: u.Roles, Groups: u.Groups,
		CreatedAt: time.Unix(u.CreatedAt, 0).UTC(), Epoch: u.Epoch,
	}
	if u.LastLogin != 0 {
		info.LastLogin = time.Unix(u.LastLogin, 0).UTC()
	}
	for _, a := range directory.Accounts(u) {
		info.Accounts = append(info.Accounts, Account(a))
	}
	return info
}

// userByRef returns the user with the uid ref or, if there is none, the user with the
// local user name ref, as at a sign-in. The error is CodeUnknownUser if there is no such user.
func (svc *Service) userByRef(ctx context.Context, ref string) (*session.User, error) {
	ref = strings.TrimSpace(ref)
	if _, ok := broker.ParseID(ref); ok {
		user, err := directory.ReadUser(ctx, svc.cfg.Store, ref)
		if err != nil || user != nil {
			return user, err
		}
	}
	linked, err := directory.LocalAccount(ctx, svc.cfg.Store, ref)
	if err == nil && linked.User == nil {
		err = errUnknownUser()
	}
	return linked.User, err
}

func errUnknownUser() *broker.Error {
	return &broker.Error{Code: broker.CodeUnknownUser, Message: "No user has this uid or local user name; list the users to find it."}
}
