package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// canonicalName is the one form of a local user name: without white space (the Unicode property
// White_Space) at its ends, and in NFC. Users of earlier versions may have names in other forms,
// but no two forms of one name are two accounts to the throttle.
func canonicalName(name string) string { return norm.NFC.String(strings.TrimSpace(name)) }

// localAccount returns the link of the local account that a person or an operator means by name: the
// account of that very name, without the white space at its ends, else of its NFC, which names
// have that were given by this version, else of its NFD, which earlier versions kept as it was typed.
func (b *Broker) localAccount(ctx context.Context, name string) (accountLink, error) {
	name = strings.TrimSpace(name)
	forms := []string{name}
	for _, form := range []norm.Form{norm.NFC, norm.NFD} {
		if other := form.String(name); !slices.Contains(forms, other) {
			forms = append(forms, other)
		}
	}
	var linked accountLink
	for _, form := range forms {
		var err error
		if linked, err = b.link(ctx, LocalIssuer, form); err != nil || linked.user != nil {
			return linked, err
		}
	}
	return linked, nil
}

// foldName is what names have in common that people take for one: those that are equal under
// compatibility caseless matching (The Unicode Standard, D146), which NFKC case folding is,
// invisible characters aside.
func foldName(name string) string {
	if !strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return strings.ToLower(name)
	}
	fold := cases.Fold()
	folded := norm.NFKD.String(fold.String(norm.NFD.String(name)))
	folded = strings.Map(func(r rune) rune {
		if invisible(r) {
			return -1
		}
		return r
	}, folded)
	return norm.NFKC.String(fold.String(folded))
}

// invisible reports whether a character is not shown, or only by what it does to its neighbours.
func invisible(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// validateUsername checks the canonical form of a name that is to be given to a user.
func validateUsername(name string) error {
	problem := referenceProblem(name, maxUsername)
	if problem == "" {
		problem = characterProblem(name)
	}
	if problem != "" {
		return invalidUser("A user name %s.", problem)
	}
	if _, ok := parseID(name); ok { // it could pass for another user's uid
		return invalidUser("A user name may not look like a user id.")
	}
	return nil
}

// characterProblem names the first character that would make a new user name look like another
// one, or would not be seen, and says why; or returns "".
func characterProblem(name string) string {
	for i, r := range name {
		switch {
		case invisible(r):
			return fmt.Sprintf("may not hold %U, which is invisible", r)
		case !unicode.IsGraphic(r):
			return fmt.Sprintf("may not hold %U, which is a control character or not assigned", r)
		case r != ' ' && unicode.IsSpace(r):
			return fmt.Sprintf("may not hold the space %U: an ordinary space is allowed", r)
		case i == 0 && unicode.IsMark(r):
			return fmt.Sprintf("may not begin with the combining mark %U", r)
		}
	}
	return ""
}
