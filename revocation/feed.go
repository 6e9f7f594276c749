package revocation

import (
	"context"
	"io"
	"log/slog"
)

// Feed delivers signed revocation messages as they were received; it neither verifies
// nor orders them. Packages natsfeed (NATS), httpfeed (HTTP) and validatortest (in process)
// implement it.
type Feed interface {
	// Open subscribes and returns once the subscription is in force or is being
	// established in the background (an unreachable server is not an error). Messages
	// go to sink until the returned closer is closed; after Close returns, sink is not
	// called again.
	Open(ctx context.Context, sink Sink) (io.Closer, error)
}

// Link is an optional interface of the closer that [Feed.Open] returns. A feed implements it if it
// can report why it delivers nothing.
type Link interface {
	// Err returns why nothing is delivered now, with the address and what to check, or nil if there is no
	// fault. It is cheap, and its text changes only with the cause.
	Err() error
}

// Sink receives what a [Feed] delivers. Its methods never block and may be called
// from several goroutines.
type Sink interface {
	// Message receives one compact JWS. The sink owns raw.
	Message(raw []byte)
	// Gap reports that messages may have been lost (reconnect, slow consumer), so that a catch-up is
	// needed.
	Gap(cause error)
}

// ReceiptSender is an optional interface of the closer that [Feed.Open] returns. It sends receipts to the
// broker. SendReceipt is called by one goroutine at a time and never after Close has returned. It ends
// when ctx does. An error means that the receipt was not sent; nil does not mean that it arrived.
type ReceiptSender interface {
	SendReceipt(ctx context.Context, r Receipt) error
}

// Client is the service's own account at the broker, with which it requests revocations.
type Client struct {
	ID     string
	Secret string
}

// String returns the id without the secret, as do all other ways to print or log a Client.
func (c Client) String() string { return "client " + c.ID }

// GoString implements [fmt.GoStringer].
func (c Client) GoString() string { return c.String() }

// LogValue implements [slog.LogValuer].
func (c Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements [encoding.TextMarshaler], for JSON.
func (c Client) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
