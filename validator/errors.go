package validator

import "errors"

// What [Validator.Validate] can say of a token, to be told apart with errors.Is. An error
// that is none of these came from the context.
var (
	// ErrExpired: well signed and for this service, but its time is over.
	ErrExpired = errors.New("token expired")
	// ErrRevoked: well signed and unexpired, but revoked.
	ErrRevoked = errors.New("token revoked")
	// ErrInvalid: not a token of this issuer for this service.
	ErrInvalid = errors.New("token invalid")
	// ErrStale: this service cannot prove that it has heard of every revocation, so it
	// says nothing about any token (503, never 401).
	ErrStale = errors.New("revocations not known to be current")
)

// refusal is one of the errors above with a detail for the log: a text of ours, or a
// [Mismatch], which bounds and quotes what the token carries. It never has the token's text.
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
