package printer

import (
	"fmt"
	"io"
	"strconv"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/terminal"
	"tokenbroker/internal/setting"
)

// Clients prints a table of OAuth clients.
func Clients(w io.Writer, clients []operator.ClientInfo) {
	if len(clients) == 0 {
		_, _ = fmt.Fprintln(w, "no clients")
		return
	}
	rows := make([][]string, len(clients))
	for i, c := range clients {
		rows[i] = []string{
			terminal.Cell(c.ID), terminal.Cell(c.Name), clientKind(c), clientSource(c), terminal.Cells(c.Grants), terminal.Cells(c.Scopes),
			terminal.Stamp(c.CreatedAt), terminal.Stamp(c.ExpiresAt),
		}
	}
	terminal.Table(w, "ID|NAME|KIND|SOURCE|GRANTS|SCOPES|CREATED|EXPIRES", rows)
}

func clientKind(c operator.ClientInfo) string {
	if c.Class == broker.ClassDocument {
		return "-" // its document says it
	}
	if c.Public {
		return "public"
	}
	return "confidential"
}

func clientSource(c operator.ClientInfo) string {
	switch {
	case c.Class != broker.ClassKnown:
		return terminal.Cell(string(c.Class))
	case c.Dynamic:
		return "operator"
	}
	return "configuration"
}

// Client prints one OAuth client.
func Client(w io.Writer, c operator.ClientInfo) {
	secret := "no"
	switch {
	case c.HasPreviousSecret && !c.PreviousSecretUntil.IsZero():
		secret = "yes; the one before is valid until " + terminal.Stamp(c.PreviousSecretUntil)
	case c.HasPreviousSecret:
		secret = "yes; the one before is also valid"
	case c.HasSecret:
		secret = "yes"
	}
	rows := [][]string{
		{"id", terminal.Cell(c.ID)}, {"name", terminal.Cell(c.Name)}, {"kind", clientKind(c)}, {"source", clientSource(c)}, {"secret", secret},
		{"grants", terminal.Cells(c.Grants)}, {"scopes", terminal.Cells(c.Scopes)}, {"default scopes", terminal.Cells(c.DefaultScopes)},
		{"audiences", terminal.Cells(c.Audiences)}, {"first party", strconv.FormatBool(c.FirstParty)},
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"redirect URI", c.RedirectURIs}, {"post-logout URI", c.PostLogoutURIs}, {"origin", c.Origins}} {
		for _, value := range list.values {
			rows = append(rows, []string{list.name, terminal.Cell(value)})
		}
	}
	for _, life := range []struct {
		name  string
		value setting.Duration
	}{{"access token", c.AccessToken}, {"session idle", c.SessionIdle}, {"session absolute", c.SessionAbsolute}} {
		if life.value != 0 {
			rows = append(rows, []string{life.name, life.value.String()})
		}
	}
	if c.RefreshGrace != nil {
		rows = append(rows, []string{"refresh grace", c.RefreshGrace.String()})
	}
	if len(c.JWKS) > 0 {
		rows = append(rows, []string{"keys", strconv.Itoa(len(c.JWKS)) + " bytes"})
	}
	if c.JWKSURI != "" {
		rows = append(rows, []string{"keys", terminal.Cell(c.JWKSURI)})
	}
	for _, workload := range c.Workloads {
		rows = append(rows, []string{"workload", terminal.Cell(workload.Issuer) + " " + terminal.Cell(workload.Subject) + " " + terminal.Cell(workload.Audience)})
	}
	rows = append(rows, []string{"created", terminal.Stamp(c.CreatedAt)})
	if !c.ExpiresAt.IsZero() {
		rows = append(rows, []string{"removed unless used before", terminal.Stamp(c.ExpiresAt)})
	}
	terminal.Table(w, "", rows)
}
