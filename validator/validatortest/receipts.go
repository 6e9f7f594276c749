package validatortest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"tokenbroker/revocation"
)

var _ revocation.ReceiptSender = (*subscription)(nil)

var errDown = errors.New("the feed is down")

// Receipts gives the last receipt of each validator that has one of this Issuer's feeds, by
// name: how far it is, and whether it is fresh. A validator sends one each second.
func (i *Issuer) Receipts() []revocation.Receipt {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []revocation.Receipt
	for _, name := range slices.Sorted(maps.Keys(i.receipts)) {
		all = append(all, i.receipts[name])
	}
	return all
}

// SendReceipt implements [revocation.ReceiptSender]. A feed that is down takes none.
func (s *subscription) SendReceipt(_ context.Context, r revocation.Receipt) error {
	if _, err := revocation.EncodeReceipt(r); err != nil {
		return fmt.Errorf("validatortest: %w", err)
	}
	s.issuer.mu.Lock()
	defer s.issuer.mu.Unlock()
	if s.issuer.silent {
		return errDown
	}
	r.Applied = maps.Clone(r.Applied)
	s.issuer.receipts[r.Service] = r
	return nil
}
