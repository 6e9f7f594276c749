package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tokenbroker/api/feed"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/receipts"
	"tokenbroker/revocation"
)

// postedReceipts takes receipts that come over HTTP. A balancer chooses the broker that gets one, so that broker passes
// it to the others of its store over NATS. Only receipts from HTTP are passed on.
type postedReceipts struct {
	collector *receipts.Collector
	logger    *slog.Logger
	// pass sends a message to the other brokers. If nil, there are none.
	pass func(message []byte) error
}

var _ feed.Receipts = postedReceipts{}

// postedReceipts returns what takes receipts that come over HTTP.
func (n *Node) postedReceipts() postedReceipts {
	p := postedReceipts{collector: n.receipts, logger: n.cfg.Logger}
	if n.cluster != nil {
		p.pass = func(message []byte) error { return n.bus.Publish(revocation.PostedSubject+n.ledger.Origin(), message) }
	}
	return p
}

// receiptsLater is the Retry-After of a service for which there is no room.
const receiptsLater = time.Minute

// Receipt implements [feed.Receipts].
func (p postedReceipts) Receipt(client string, raw []byte) error {
	err := p.collector.Take(receipts.HTTP+client, raw)
	switch {
	case errors.Is(err, receipts.ErrFull):
		return &broker.Error{Code: broker.CodeBusy, Message: "Too many services send receipts.", RetryAfter: receiptsLater, Err: err}
	case err != nil:
		p.logger.Debug("a receipt was refused", "source", receipts.HTTP+client, "error", err)
		return &broker.Error{Code: httpapi.CodeInvalidBody, Message: "the body is not a receipt of this client's service, or is ahead of this broker", Err: err}
	}
	if p.pass == nil {
		return nil
	}
	message, err := json.Marshal(postedReceipt{V: revocation.Version, Client: client, Receipt: raw})
	if err == nil {
		err = p.pass(message)
	}
	if err != nil { // the service sends another one within a second
		p.logger.Debug("a receipt could not be passed to the other brokers", "source", receipts.HTTP+client, "error", err)
	}
	return nil
}

// postedReceipt is the message with a receipt that the client posted to another broker.
type postedReceipt struct {
	V       int             `json:"v"`
	Client  string          `json:"client"`
	Receipt json.RawMessage `json:"receipt"`
}

// maxPosted is more than the length of such a message.
const maxPosted = revocation.MaxReceiptBytes + 1<<10

// takePosted takes a message of another broker. It ignores one about a client that the configuration does not have.
func (n *Node) takePosted(origin string, raw []byte) {
	m, err := parsePosted(raw)
	if err == nil && !n.known.Load().clients[m.Client] {
		err = errors.New("the client is unknown")
	}
	if err == nil {
		err = n.receipts.Take(receipts.HTTP+m.Client, m.Receipt)
	}
	if err != nil {
		n.cfg.Logger.Debug("a receipt that another broker passed on was refused", "broker", origin, "error", err)
	}
}

func parsePosted(raw []byte) (m postedReceipt, err error) {
	if len(raw) > maxPosted {
		return m, fmt.Errorf("a message of %d bytes", len(raw))
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("reading the message: %w", err)
	}
	if m.V != revocation.Version {
		return m, fmt.Errorf("a message of version %d", m.V)
	}
	return m, nil
}
