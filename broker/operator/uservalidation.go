package operator

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tokenbroker/broker"
	"tokenbroker/broker/directory"
	"tokenbroker/broker/password"
)

// Bounds of the fields that only operators set. The bounds of a profile are in package directory.
const (
	maxRoles = 64
	maxRole  = 128 // bytes
)

func (nu NewUser) validate() error {
	if err := validateUsername(nu.Username); err != nil {
		return err
	}
	if err := validatePassword(nu.Password, nu.Username, nu.InsecureSkipPasswordRules); err != nil {
		return err
	}
	return UserChange{Attributes: nu.Attributes, Roles: nu.Roles}.validate()
}

func (c UserChange) validate() error {
	if name, f := directory.AttributesFlaw(c.Attributes); f != nil {
		return invalidUser("The attributes are refused: %s %s.", name, f.Text)
	}
	if len(c.Roles) > maxRoles {
		return invalidUser("There may be at most %d roles.", maxRoles)
	}
	for _, role := range c.Roles {
		if problem := roleProblem(role); problem != "" {
			return invalidUser("A role %s.", problem)
		}
	}
	return nil
}

// roleProblem returns the rule that a role breaks, or "".
func roleProblem(role string) string {
	if strings.ContainsFunc(role, directory.Disguising) {
		return "may not contain control characters or bidirectional overrides"
	}
	return referenceProblem(role, maxRole)
}

// referenceProblem returns the rule that a name by which an operator identifies a user or a client breaks, or "". It allows
// names that no new user can have, because users of earlier versions may have them.
func referenceProblem(name string, limit int) string {
	switch {
	case name == "":
		return "may not be empty"
	case len(name) > limit:
		return fmt.Sprintf("may have at most %d bytes", limit)
	case !utf8.ValidString(name):
		return "must be UTF-8"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "may not contain control characters"
	case strings.TrimSpace(name) != name:
		return "may not begin or end with a space"
	}
	return ""
}

// productName is not allowed as a password.
const productName = "tokenbroker"

// validatePassword checks a new password of the user with that name.
func validatePassword(plain, username string, skipRules bool) error {
	if plain == "" {
		return invalidUser("The password may not be empty.")
	}
	if max(len(plain), len(norm.NFC.String(plain))) > password.MaxLength {
		return invalidUser("The password may have at most %d bytes, as it is and in NFC.", password.MaxLength)
	}
	if skipRules {
		return nil
	}
	local, _, _ := strings.Cut(username, "@")
	if rule := password.Weakness(plain, username, local, productName); rule != "" {
		return invalidUser("The password %s; choose another one, for example a pass phrase of several words.", rule)
	}
	return nil
}

func invalidUser(format string, args ...any) error {
	return &broker.Error{Code: broker.CodeInvalidUser, Message: fmt.Sprintf(format, args...)}
}

// validateUsername checks the canonical form of a new user's name.
func validateUsername(name string) error {
	problem := referenceProblem(name, directory.MaxUsername)
	if problem == "" {
		problem = characterProblem(name)
	}
	if problem != "" {
		return invalidUser("A user name %s.", problem)
	}
	if _, ok := broker.ParseID(name); ok { // it could be mistaken for another user's uid
		return invalidUser("A user name may not have the form of a uid.")
	}
	return nil
}

// characterProblem returns the rule that the first invalid character of a new user name breaks, or "". Such
// characters are invisible, or make a name look like another one.
func characterProblem(name string) string {
	for i, r := range name {
		switch {
		case directory.Invisible(r):
			return fmt.Sprintf("may not contain %U, which is invisible", r)
		case !unicode.IsGraphic(r):
			return fmt.Sprintf("may not contain %U, which is a control character or not assigned", r)
		case r != ' ' && unicode.IsSpace(r):
			return fmt.Sprintf("may not contain the space %U; use an ordinary space", r)
		case i == 0 && unicode.IsMark(r):
			return fmt.Sprintf("may not begin with the combining mark %U", r)
		}
	}
	return ""
}
