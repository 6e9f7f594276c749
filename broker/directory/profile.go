package directory

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"tokenbroker/broker"
)

// Bounds of a user's profile, in bytes unless stated. They apply to what operators set and to
// the claims of a provider's token: both are stored with the user and shown in lists.
const (
	MaxUsername       = 128
	maxAttributes     = 64 // of them
	maxAttributeName  = 128
	maxAttributeBytes = 16 << 10 // of the JSON of all
	maxGroups         = 256      // of them
	maxGroup          = 256
	maxGroupBytes     = 16 << 10 // of all groups
	maxEmail          = 254      // RFC 5321 §4.5.3.1.3
	maxAccountText    = 255      // subject, acr, an amr value, upstream session id (OIDC Core §2)
	maxAMR            = 16       // of them
)

// Flaw is the reason why a part of a profile is refused.
type Flaw struct {
	tooLarge bool
	Text     string // follows the part's name
}

func tooLarge(size, limit int, unit string) *Flaw {
	return &Flaw{tooLarge: true, Text: fmt.Sprintf("has %d %s, more than %d", size, unit, limit)}
}

// ValidateIdentity checks the profile in a provider's token. Errors: CodeProfileTooLarge and
// CodeProfileInvalid. The message names the claim and, if it is too large, its size.
func ValidateIdentity(i broker.Identity) *broker.Error {
	for _, part := range []struct {
		name, text string
		limit      int
	}{
		{"sub", i.Subject, maxAccountText}, {"the user name", i.Username, MaxUsername}, {"email", i.Email, maxEmail},
		{"acr", i.ACR, maxAccountText}, {"the session id", i.UpstreamSID, maxAccountText},
	} {
		if f := textFlaw(part.text, part.limit); f != nil {
			return refusedProfile(part.name, f)
		}
	}
	for _, list := range []struct {
		name              string
		values            []string
		count, each, size int
	}{
		{"the list of groups", i.Groups, maxGroups, maxGroup, maxGroupBytes}, {"the list amr", i.AMR, maxAMR, maxAccountText, maxAMR * maxAccountText},
	} {
		if f := listFlaw(list.values, list.count, list.each, list.size); f != nil {
			return refusedProfile(list.name, f)
		}
	}
	if name, f := AttributesFlaw(i.Attributes); f != nil {
		return refusedProfile(name, f)
	}
	return nil
}

func refusedProfile(part string, f *Flaw) *broker.Error {
	code := broker.CodeProfileInvalid
	if f.tooLarge {
		code = broker.CodeProfileTooLarge
	}
	return &broker.Error{Code: code, Message: "The provider's profile of this user is refused: " + part + " " + f.Text + "."}
}

// AttributesFlaw checks attributes. name is the refused attribute, or "the profile".
func AttributesFlaw(attributes map[string]any) (name string, f *Flaw) {
	if n := len(attributes); n > maxAttributes {
		return "the profile", tooLarge(n, maxAttributes, "attributes")
	}
	for name, value := range attributes {
		if f := textFlaw(name, maxAttributeName); f != nil {
			return fmt.Sprintf("the attribute name %.40q", name), f
		}
		if !cleanValue(value) {
			return fmt.Sprintf("the attribute %q", name), &Flaw{Text: unclean}
		}
	}
	encoded, err := json.Marshal(attributes)
	if err != nil {
		return "the profile", &Flaw{Text: "cannot be written as JSON"}
	}
	if len(encoded) > maxAttributeBytes {
		largest, size := largestAttribute(attributes)
		f := tooLarge(len(encoded), maxAttributeBytes, "bytes of JSON")
		f.Text += fmt.Sprintf(" (the largest attribute is %q with %d)", largest, size)
		return "the profile", f
	}
	return "", nil
}

func largestAttribute(attributes map[string]any) (name string, size int) {
	for n, value := range attributes {
		if encoded, err := json.Marshal(value); err == nil && (len(encoded) > size || len(encoded) == size && n < name) {
			name, size = n, len(encoded)
		}
	}
	return name, size
}

func listFlaw(values []string, count, each, size int) *Flaw {
	if n := len(values); n > count {
		return tooLarge(n, count, "values")
	}
	total := 0
	for _, value := range values {
		if f := textFlaw(value, each); f != nil {
			f.Text = "contains a value that " + f.Text
			return f
		}
		total += len(value)
	}
	if total > size {
		return tooLarge(total, size, "bytes")
	}
	return nil
}

const unclean = "has a control character, a bidirectional override (U+202A to U+202E, U+2066 to U+2069) or text that is not UTF-8"

func textFlaw(text string, limit int) *Flaw {
	switch {
	case len(text) > limit:
		return tooLarge(len(text), limit, "bytes")
	case !utf8.ValidString(text), strings.ContainsFunc(text, Disguising):
		return &Flaw{Text: unclean}
	}
	return nil
}

// cleanValue reports whether all strings in an attribute's value are clean. Tabs and line ends
// are allowed here, because an address has several lines (OIDC Core §5.1.1).
func cleanValue(value any) bool {
	switch v := value.(type) {
	case string:
		return utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool {
			return Disguising(r) && r != '\t' && r != '\n' && r != '\r'
		})
	case []any:
		for _, element := range v {
			if !cleanValue(element) {
				return false
			}
		}
	case map[string]any:
		for name, element := range v {
			if !cleanValue(name) || !cleanValue(element) {
				return false
			}
		}
	}
	return true
}

// Disguising reports whether a character can change how the text around it is shown in a
// terminal, a log or a list: control characters, line and paragraph separators, and
// bidirectional embeddings, overrides and isolates.
func Disguising(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r >= '\u202A' && r <= '\u202E' || r >= '\u2066' && r <= '\u2069'
}
