package validator

import (
	"strconv"
	"strings"
	"time"
)

// Mismatch is why a token was refused, where a value of the token is not what this service
// expects. Errors of [Validator.Validate] hold one for errors.As. Token and Expected are
// for people to read: at most maxShown bytes of what the token carries, quoted unless they
// are plain ASCII without spaces. They are never a part of the token's text or its signature.
type Mismatch struct {
	// Field is the claim or header member: iss, aud, exp, iat, nbf, scope, alg, kid or typ,
	// or lifetime for exp − iat.
	Field string
	// Token is the token's value, Expected the value or rule it should have met.
	Token, Expected string
}

// words are the fields that have a better name in a sentence.
var words = map[string]string{"iss": "issuer", "aud": "audience"}

func (m *Mismatch) Error() string {
	name, renamed := words[m.Field]
	if !renamed {
		name = m.Field
	}
	return name + ": " + m.values()
}

func (m *Mismatch) values() string {
	return "token has " + m.Token + ", this service expects " + m.Expected
}

// NewMismatch returns a [Mismatch] about values as the token carries them; a middleware
// reports a missing scope with it.
func NewMismatch(field, expected string, token ...string) *Mismatch {
	return &Mismatch{Field: field, Token: shown(token), Expected: expected}
}

const (
	maxShown  = 64 // bytes of a value
	maxValues = 4
)

// shown makes values of a token fit for a log: bounded, and quoted unless they are plain.
func shown(values []string) string {
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return "none"
	}
	var b strings.Builder
	for i, v := range values {
		if i > 0 {
			b.WriteString(", ")
		}
		if i == maxValues {
			b.WriteString(strconv.Itoa(len(values)-i) + " more")
			break
		}
		cut := v[:min(len(v), maxShown)]
		if strings.ContainsFunc(cut, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' || r == ',' }) {
			cut = strconv.QuoteToASCII(cut)
		}
		b.WriteString(cut)
		if len(v) > maxShown {
			b.WriteString("... (" + strconv.Itoa(len(v)) + " bytes)")
		}
	}
	return b.String()
}

func instant(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
