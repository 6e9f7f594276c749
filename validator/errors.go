package validator

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Errors of [Validator.Validate] for a token that is not accepted. Compare with errors.Is. Any
// other error comes from the context.
var (
	// ErrExpired means that the signature is valid and the token is for this service, but it
	// has expired.
	ErrExpired = errors.New("token expired")
	// ErrRevoked means that the signature is valid and the token has not expired, but it was
	// revoked.
	ErrRevoked = errors.New("token revoked")
	// ErrInvalid means that the token is not one of this issuer for this service.
	ErrInvalid = errors.New("token invalid")
	// ErrStale means that this service cannot prove that it has received every revocation, so
	// it does not judge any token (503, never 401).
	ErrStale = errors.New("revocations not known to be current")
)

// refusal is one of the errors above with a detail for the log: a fixed text or a [Mismatch], which bounds
// and quotes values of the token. It never has the token's text.
type refusal struct {
	kind   error
	detail string
	cause  error
}

func refuse(kind error, detail string) error { return &refusal{kind: kind, detail: detail} }

func (r *refusal) Error() string {
	text := r.kind.Error()
	if r.detail != "" {
		text += ": " + r.detail
	}
	if r.cause != nil {
		text += ": " + r.cause.Error()
	}
	return text
}

func (r *refusal) Unwrap() []error {
	if r.cause == nil {
		return []error{r.kind}
	}
	return []error{r.kind, r.cause}
}

// Mismatch says that a token was refused because one of its values is not what this service
// expects. Errors of [Validator.Validate] wrap one for errors.As. Token and Expected are
// texts for people: Token has at most 64 bytes of each value, quoted unless they are plain
// ASCII without spaces. They never contain a part of the token's text or its signature.
type Mismatch struct {
	// Field is the claim or header member: iss, aud, exp, iat, nbf, scope, alg, kid or typ,
	// or lifetime for exp − iat.
	Field string
	// Token is the token's value, Expected the value or rule that it does not meet.
	Token, Expected string
}

// words are the fields that have a better name for sentences.
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

// shown returns values of a token in a form for logs: bounded, and quoted unless they are plain.
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
