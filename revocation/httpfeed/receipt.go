package httpfeed

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"tokenbroker/revocation"
)

var _ revocation.ReceiptSender = (*subscription)(nil)

// receiptTimeout bounds the sending of one receipt.
const receiptTimeout = 2 * time.Second

// SendReceipt implements [revocation.ReceiptSender]: POST /revocations/receipt, as the feed's
// client, within two seconds. Redirects are not followed.
func (s *subscription) SendReceipt(ctx context.Context, r revocation.Receipt) error {
	raw, err := revocation.EncodeReceipt(r)
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.issuer+receiptPath, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	req.SetBasicAuth(s.feed.Client.ID, s.feed.Client.Secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("sending a receipt: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // a 204 has none; what another says is not read
	if resp.StatusCode != http.StatusNoContent {
		return refusal(receiptPath, resp)
	}
	return nil
}
