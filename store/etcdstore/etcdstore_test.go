package etcdstore_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tokenbroker/store/etcdstore"
	"tokenbroker/store/storetest"
)

func TestEngine(t *testing.T) {
	t.Parallel()
	storetest.RunEngine(t, func(t *testing.T) storetest.Harness {
		config := config(t)
		var wire wire
		return storetest.Harness{
			Engine: open(t, etcdstore.WithDialOption(config, grpc.WithChainUnaryInterceptor(wire.intercept))), Other: open(t, config),
			LoseAnswer: wire.loseAnswers, Delay: wire.holdBack,
		}
	})
}

// wire is what is between a client and the cluster: it loses answers, or holds transactions back.
type wire struct {
	mode atomic.Int32
	mu   sync.Mutex
	held []func(context.Context) error
}

const (
	pass = iota
	loseAnswer
	loseOne
	hold
)

func (w *wire) intercept(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	mode := w.mode.Load()
	if method != "/etcdserverpb.KV/Txn" {
		mode = pass
	}
	switch mode {
	case loseAnswer, loseOne:
		if mode == loseOne {
			w.mode.Store(pass)
		}
		if err := invoke(ctx, method, request, reply, cc, opts...); err != nil {
			return err
		}
		return status.Error(codes.Unavailable, "the answer was lost")
	case hold:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.held = append(w.held, func(ctx context.Context) error {
			return invoke(ctx, method, request, new(pb.TxnResponse), cc, opts...)
		})
		lookSent(opts)
		return status.Error(codes.Unavailable, "held back")
	}
	return invoke(ctx, method, request, reply, cc, opts...)
}

func (w *wire) loseAnswers(commit func()) {
	w.mode.Store(loseAnswer)
	defer w.mode.Store(pass)
	commit()
}

// loseNext loses the answer of the next transaction.
func (w *wire) loseNext() { w.mode.Store(loseOne) }

func (w *wire) holdBack(commit func()) (again func()) {
	w.mode.Store(hold)
	commit()
	w.mode.Store(pass)
	return func() {
		for _, send := range w.held {
			if err := send(context.Background()); err != nil {
				panic(err)
			}
		}
	}
}

// lookSent makes a request look as if it had been sent to a member.
func lookSent(opts []grpc.CallOption) {
	for _, o := range opts {
		if p, ok := o.(grpc.PeerCallOption); ok {
			p.PeerAddr.Addr = &net.TCPAddr{}
		}
	}
}
