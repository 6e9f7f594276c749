package node

import (
	"context"
	"errors"
	"time"

	"tokenbroker/broker"
	"tokenbroker/keyring"
)

// brokerKeys implements [broker.Signer] and [broker.Secrets] by the keyring.
type brokerKeys struct{ *keyring.Keyring }

var (
	_ broker.Signer  = brokerKeys{}
	_ broker.Secrets = brokerKeys{}
)

// SignAccessToken implements [broker.Signer].
func (k brokerKeys) SignAccessToken(ctx context.Context, claims []byte) (string, error) {
	token, err := k.Keyring.SignAccessToken(ctx, claims)
	return token, outdatedIsUnavailable(err)
}

// SignIDToken implements [broker.Signer].
func (k brokerKeys) SignIDToken(ctx context.Context, build func(algorithm string) ([]byte, error)) (string, error) {
	token, err := k.Keyring.SignIDToken(ctx, build)
	return token, outdatedIsUnavailable(err)
}

// Outdated implements [broker.Secrets].
func (k brokerKeys) Outdated() error { return outdatedIsUnavailable(k.Keyring.Outdated()) }

// outdatedIsUnavailable returns the application error for [keyring.ErrOutdated], and other errors as they are.
func outdatedIsUnavailable(err error) error {
	if errors.Is(err, keyring.ErrOutdated) {
		return &broker.Error{Code: broker.CodeUnavailable, Message: "The broker could not read its keys for too long; try again.", RetryAfter: time.Second, Err: err}
	}
	return err
}
