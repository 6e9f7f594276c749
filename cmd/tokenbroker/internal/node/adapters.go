package node

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/api/oauth"
	"tokenbroker/broker"
	"tokenbroker/keyring"
	"tokenbroker/revocation"
	"tokenbroker/revocation/ledger"
	"tokenbroker/store"
	"tokenbroker/validator"
)

// KeyringKey is the one record that the keyring lives in.
const KeyringKey = "keyring"

// KeyringStore lets the keyring live in a store of records.
func KeyringStore(s store.Store) keyring.Store { return keyringStore{s} }

// keyringStore lets the keyring live in the broker's store.
type keyringStore struct{ store store.Store }

var _ keyring.Store = keyringStore{}

// Load implements [keyring.Store].
func (k keyringStore) Load(ctx context.Context) ([]byte, uint64, error) {
	rec, err := k.store.Get(ctx, KeyringKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, keyring.ErrEmpty
	}
	return rec.Value, uint64(rec.Revision), err
}

// CompareAndSwap implements [keyring.Store].
func (k keyringStore) CompareAndSwap(ctx context.Context, data []byte, rev uint64) error {
	errs := k.store.Commit(ctx, []store.Change{{Writes: []store.Write{
		{Key: KeyringKey, Value: data, Expect: store.Revision(rev)},
	}}}, nil)
	if errors.Is(errs[0], store.ErrConflict) {
		return keyring.ErrConflict
	}
	return errs[0]
}

// document serves one of the keyring's JWK sets.
func document(current func() keyring.Document) httpapi.Document {
	return func() ([]byte, string, time.Duration) {
		doc := current()
		return doc.Body, doc.ETag, doc.MaxAge
	}
}

// verifier answers /auth/verify/ from the validator in this process.
type verifier struct{ validator *validator.Validator }

var _ oauth.Verifier = verifier{}

// Verify implements [oauth.Verifier].
func (v verifier) Verify(ctx context.Context, token string) (json.RawMessage, error) {
	claims, err := v.validator.Validate(ctx, token)
	switch {
	case err == nil:
		return claims.Raw(), nil
	case errors.Is(err, validator.ErrExpired):
		return nil, &broker.Error{Code: httpapi.CodeTokenExpired, Message: "The token has expired.", Err: err}
	case errors.Is(err, validator.ErrRevoked):
		return nil, &broker.Error{Code: httpapi.CodeTokenRevoked, Message: "The token was revoked.", Err: err}
	case errors.Is(err, validator.ErrInvalid):
		return nil, &broker.Error{Code: httpapi.CodeTokenInvalid, Message: "The token is not a good one of this issuer.", Err: err}
	default:
		return nil, &broker.Error{Code: broker.CodeUnavailable, Message: "The token cannot be judged for now.", Err: err}
	}
}

// catchup answers GET /revocations from the ledger.
type catchup struct{ ledger *ledger.Ledger }

var _ feed.Catchup = catchup{}

// Answer implements [feed.Catchup].
func (c catchup) Answer(ctx context.Context, client, after string, as revocation.Form) (feed.CatchupAnswer, error) {
	answer, err := c.ledger.EncodedAnswerFor(ctx, client, after, as)
	switch {
	case errors.Is(err, ledger.ErrBadPosition):
		return nil, invalidPosition(err)
	case errors.Is(err, ledger.ErrTooManyAnswers):
		return nil, &broker.Error{Code: broker.CodeBusy, Message: "This client reads too many catch-up answers at once.", RetryAfter: time.Second, Err: err}
	case err != nil:
		return nil, err
	}
	return answer, nil
}

// stream answers GET /revocations/stream from what the publisher signs.
type stream struct{ hub *ledger.Hub }

var _ feed.Stream = stream{}

// listenLater is when a listener that was refused may ask again.
const listenLater = 5 * time.Second

// Listen implements [feed.Stream].
func (s stream) Listen(client, after string) (feed.Listener, error) {
	l, err := s.hub.Listen(client, after)
	switch {
	case errors.Is(err, ledger.ErrBadPosition):
		return nil, invalidPosition(err)
	case errors.Is(err, ledger.ErrTooManyListeners):
		return nil, &broker.Error{Code: broker.CodeBusy, Message: "Too many services are listening, of this client or in all.", RetryAfter: listenLater, Err: err}
	case errors.Is(err, ledger.ErrHubClosed):
		return nil, &broker.Error{Code: broker.CodeUnavailable, Message: "The broker is stopping.", RetryAfter: time.Second, Err: err}
	case err != nil:
		return nil, err
	}
	return listener{l}, nil
}

type listener struct{ *ledger.Listener }

// Next implements [feed.Listener].
func (l listener) Next(ctx context.Context) (feed.StreamEvent, error) {
	e, err := l.Listener.Next(ctx)
	return feed.StreamEvent(e), err
}

// invalidPosition tells the caller that its position cannot be read.
func invalidPosition(err error) error {
	return &broker.Error{Code: httpapi.CodeInvalidPosition, Message: "the position is not a list of origin.seq", Err: err}
}
