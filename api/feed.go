package api

import (
	"errors"
	"net/http"

	"tokenbroker/broker"
)

// badPosition is an error of [Catchup] that blames the position.
type badPosition interface {
	error
	BadPosition() bool
}

// revocations is GET /revocations?after=position for services: client id and secret by
// Basic. The answer is never cached, and written in the form that Accept prefers.
func (s *server) revocations(w http.ResponseWriter, r *http.Request) error {
	client, err := s.authenticateService(r)
	if err != nil {
		return err
	}
	after, err := position(r)
	if err != nil {
		return err
	}
	w.Header().Add("Vary", "Accept")
	as := catchupForm(r.Header)
	answer, err := s.catchup(r.Context(), client, after, as)
	if err != nil {
		return positionError(err)
	}
	writeCatchup(w, as, answer)
	return nil
}

// position is the query's after, or "".
func position(r *http.Request) (string, error) {
	switch after := r.URL.Query()["after"]; len(after) {
	case 0:
		return "", nil
	case 1:
		return after[0], nil
	default:
		return "", &broker.Error{Code: CodeInvalidPosition, Message: "after came more than once"}
	}
}

// positionError tells the caller of an error that blames the position.
func positionError(err error) error {
	var bad badPosition
	if errors.As(err, &bad) && bad.BadPosition() {
		return &broker.Error{Code: CodeInvalidPosition, Message: "the position is not a list of origin.seq", Err: err}
	}
	return err
}
