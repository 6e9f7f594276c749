package backup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
)

const (
	stanzaType = "tokenbroker-kek"
	// maxAgeHeader bounds the age file's header, in bytes; a sealed key takes about 200.
	maxAgeHeader = 4096
	// fileKeySize is the length of an age file key in bytes.
	fileKeySize = 16
)

// recipient wraps the age file key with a [Sealer], bound to the head of the backup.
type recipient struct {
	ctx  context.Context //nolint:containedctx // age's interface has none; it lives for one call of age.Encrypt
	seal Sealer
	head []byte
}

var _ age.Recipient = (*recipient)(nil)

// Wrap implements [age.Recipient].
func (r *recipient) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	sealed, err := r.seal.Seal(r.ctx, fileKey, r.head)
	if err != nil {
		return nil, err
	}
	return []*age.Stanza{{Type: stanzaType, Body: sealed}}, nil
}

// identity unwraps what [recipient] wrapped.
type identity struct {
	ctx  context.Context //nolint:containedctx // as recipient's
	open Opener
	head []byte
	// failed is the Opener's error.
	failed error
}

var _ age.Identity = (*identity)(nil)

// Unwrap implements [age.Identity].
func (i *identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) != 1 || stanzas[0].Type != stanzaType || len(stanzas[0].Args) > 0 {
		return nil, errors.New("its key is not wrapped by one stanza " + stanzaType)
	}
	fileKey, err := i.open.Open(i.ctx, stanzas[0].Body, i.head)
	if err != nil {
		i.failed = fmt.Errorf("opening its key: %w", err)
		return nil, i.failed
	}
	if len(fileKey) != fileKeySize {
		return nil, fmt.Errorf("its key has %d bytes", len(fileKey))
	}
	return fileKey, nil
}

// decrypt reads an age file, which extends to the end of r. Every byte that it returns is
// authenticated, and io.EOF comes only after the last chunk. An error of open is returned as
// it is; any other one wraps [ErrDamaged].
func decrypt(ctx context.Context, r *bufio.Reader, open Opener, head []byte) (io.Reader, error) {
	// age reads a header of any length into memory.
	start, err := r.Peek(maxAgeHeader)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, damaged("its key", err)
	}
	if _, last, found := bytes.Cut(start, []byte("\n--- ")); !found || !bytes.ContainsRune(last, '\n') {
		return nil, fmt.Errorf("%w: it has no encrypted body", ErrDamaged)
	}
	id := &identity{ctx: ctx, open: open, head: head}
	body, err := age.Decrypt(r, id)
	switch {
	case id.failed != nil:
		return nil, id.failed
	case err != nil:
		return nil, damaged("its key", err)
	}
	return body, nil
}
