package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc"

	"tokenbroker/store"
	"tokenbroker/store/etcdstore"
)

// TestRequestsOfARound states how many requests a round of refreshes of different users needs: for each the record of the user and of the
// session is read, with two that they share, and the session is written.
func TestRequestsOfARound(t *testing.T) {
	requests := 0
	s := fenced{Store: open(t, etcdstore.WithDialOption(config(t), grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			requests++
			return invoke(ctx, method, request, reply, cc, opts...)
		})))}
	for _, tt := range []struct{ refreshes, reads, fit int }{
		{1, 1, 1}, {63, 1, 63}, {64, 2, 64}, {126, 2, 126}, {127, 2, 126}, {128, 3, 126},
	} {
		t.Run(fmt.Sprint(tt.refreshes), func(t *testing.T) {
			keys := []string{"floor", "client"}
			for i := range tt.refreshes {
				keys = append(keys, fmt.Sprint("user", i), fmt.Sprint("session", i))
			}
			requests = 0
			records, err := s.GetMany(t.Context(), keys)
			if err != nil {
				t.Fatal(err)
			}
			if requests != tt.reads {
				t.Errorf("%d requests for %d records, want %d", requests, len(keys), tt.reads)
			}
			changes := make([]store.Change, tt.refreshes)
			for i := range changes {
				session := records[3+2*i]
				changes[i] = put(session.Key, "rotated", session.Revision)
			}
			requests = 0
			for i, err := range s.commit(t.Context(), nil, changes...) {
				if i < tt.fit && err != nil || i >= tt.fit && !errors.Is(err, store.ErrTooBig) {
					t.Errorf("change %d: %v", i, err)
				}
			}
			if requests != 1 {
				t.Errorf("%d requests for a commit, want 1", requests)
			}
		})
	}
}
