package benchrun

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// rawBroadcast is the floor of a revocation: one record synced to disk, one message published, and one
// signature verified by each of the subscribers, each with its own connection.
type rawBroadcast struct {
	subject string
	public  ed25519.PublicKey
	private ed25519.PrivateKey
	sender  *nats.Conn
	conns   []*nats.Conn
	want    int
	ended   []time.Time // by worker, when the last subscriber had verified its last message

	mu  sync.Mutex // guards log
	log *syncedLog

	next    atomic.Uint64
	waiting sync.Map // the pending messages: number to *delivery
}

// messageBytes is about the size of a batch of one revocation, without its signature.
const messageBytes = 400

func newRawBroadcast(url, dir string, subscribers int, ended []time.Time) (*rawBroadcast, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the floor's key: %w", err)
	}
	r := &rawBroadcast{subject: "bench." + rand.Text(), public: public, private: private, want: subscribers, ended: ended}
	if r.log, err = newSyncedLog(dir); err != nil {
		return nil, err
	}
	connect := func() (*nats.Conn, error) {
		c, err := nats.Connect(url, nats.Name("tokenbroker bench floor"), nats.Timeout(5*time.Second))
		if err != nil {
			return nil, fmt.Errorf("connecting the floor to NATS: %w", err)
		}
		r.conns = append(r.conns, c)
		return c, nil
	}
	if r.sender, err = connect(); err != nil {
		r.stop()
		return nil, err
	}
	for range subscribers {
		c, err := connect()
		if err == nil {
			_, err = c.Subscribe(r.subject, r.check)
		}
		if err == nil {
			err = c.FlushTimeout(requestTimeout)
		}
		if err != nil {
			r.stop()
			return nil, err
		}
	}
	return r, nil
}

// check verifies a message's signature, as a subscriber does.
func (r *rawBroadcast) check(m *nats.Msg) {
	if len(m.Data) < ed25519.SignatureSize+8 {
		return
	}
	body, signature := m.Data[ed25519.SignatureSize:], m.Data[:ed25519.SignatureSize]
	if !ed25519.Verify(r.public, body, signature) {
		return // its publisher reaches the timeout
	}
	if h, ok := r.waiting.Load(binary.BigEndian.Uint64(body)); ok {
		h.(*delivery).received()
	}
}

// publish syncs a record, publishes it and returns when the last subscriber has verified it.
func (r *rawBroadcast) publish(ctx context.Context, worker int) error {
	number := r.next.Add(1)
	h := newDelivery(r.want)
	r.waiting.Store(number, h)
	defer r.waiting.Delete(number)
	body := binary.BigEndian.AppendUint64(make([]byte, 0, messageBytes), number)
	body = body[:messageBytes]
	r.mu.Lock()
	err := r.log.append(body)
	r.mu.Unlock()
	if err != nil {
		return fmt.Errorf("syncing the floor's record: %w", err)
	}
	if err := r.sender.Publish(r.subject, append(ed25519.Sign(r.private, body), body...)); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	ended, err := h.wait(ctx)
	r.ended[worker] = ended
	return err
}

func (r *rawBroadcast) stop() {
	for _, c := range r.conns {
		c.Close()
	}
	r.log.close()
}

// delivery is one message to several subscribers, each of which calls received once.
type delivery struct {
	waiting atomic.Int64
	last    time.Time     // set before all is closed
	all     chan struct{} // closed when the last subscriber has the message
}

func newDelivery(want int) *delivery {
	h := &delivery{all: make(chan struct{})}
	h.waiting.Store(int64(want))
	return h
}

// received records that one more subscriber has the message.
func (h *delivery) received() {
	if h.waiting.Add(-1) == 0 {
		h.last = time.Now()
		close(h.all)
	}
}

// deliveryTimeout is the time limit for a delivery to the last subscriber.
const deliveryTimeout = 10 * time.Second

var errNotDelivered = errors.New("not all subscribers received the message in time")

// wait returns when the last subscriber has the message.
func (h *delivery) wait(ctx context.Context) (time.Time, error) {
	timeout := time.NewTimer(deliveryTimeout)
	defer timeout.Stop()
	select {
	case <-h.all:
		return h.last, nil
	case <-timeout.C:
		return time.Time{}, errNotDelivered
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}
