package printer

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
)

// Users prints a table of users.
func Users(w io.Writer, users []operator.UserInfo) {
	if len(users) == 0 {
		_, _ = fmt.Fprintln(w, "no users")
		return
	}
	rows := make([][]string, len(users))
	for i, u := range users {
		rows[i] = []string{terminal.Cell(u.UID), terminal.Cell(u.Username), userState(u), terminal.Cells(u.Roles), terminal.Stamp(u.CreatedAt), terminal.Stamp(u.LastLogin), issuers(u)}
	}
	terminal.Table(w, "UID|USERNAME|STATE|ROLES|CREATED|LAST LOGIN|ISSUER", rows)
}

// issuers returns the issuers of the user's accounts: a provider's user may have the name of a local one.
func issuers(u operator.UserInfo) string {
	names := make([]string, len(u.Accounts))
	for i, a := range u.Accounts {
		names[i] = a.Issuer
		if a.Issuer == broker.LocalIssuer {
			names[i] = "local"
		}
	}
	return terminal.Cells(names)
}

func userState(u operator.UserInfo) string {
	if u.Disabled {
		return "disabled"
	}
	return "active"
}

// User prints one user with its accounts and attributes.
func User(w io.Writer, u operator.UserInfo) {
	password := "no"
	if u.HasPassword {
		password = "yes"
	}
	rows := [][]string{
		{"uid", terminal.Cell(u.UID)}, {"username", terminal.Cell(u.Username)}, {"state", userState(u)}, {"password", password},
		{"roles", terminal.Cells(u.Roles)}, {"groups", terminal.Cells(u.Groups)},
		{"created", terminal.Stamp(u.CreatedAt)}, {"last login", terminal.Stamp(u.LastLogin)},
	}
	for _, a := range u.Accounts {
		rows = append(rows, []string{"account", terminal.Cell(a.Issuer) + " " + terminal.Cell(a.Subject)})
	}
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		rows = append(rows, []string{"attribute", terminal.Plain(name) + "=" + adminclient.AttributeText(u.Attributes[name])})
	}
	terminal.Table(w, "", rows)
}

// Sessions prints a table of sessions.
func Sessions(w io.Writer, sessions []operator.SessionSummary) {
	if len(sessions) == 0 {
		_, _ = fmt.Fprintln(w, "no sessions")
		return
	}
	rows := make([][]string, len(sessions))
	for i, s := range sessions {
		rows[i] = []string{terminal.Cell(s.SID), terminal.Cell(s.UID), terminal.Cell(s.Username), terminal.Cell(s.ClientID), terminal.Cell(s.State), terminal.Stamp(s.CreatedAt), terminal.Stamp(s.LastUsed), terminal.Stamp(s.ExpiresAt), terminal.Cell(s.Device)}
	}
	terminal.Table(w, "SID|USER|NAME|CLIENT|STATE|CREATED|LAST USED|EXPIRES|DEVICE", rows)
}
