package etcdstore

import (
	"time"

	"google.golang.org/grpc"
)

// WithDialOption returns config with a further option of its connections.
func WithDialOption(config Config, option grpc.DialOption) Config {
	config.dialOptions = append(config.dialOptions, option)
	return config
}

// WithPatience returns config with the time for which an operation asks the endpoints.
func WithPatience(config Config, patience time.Duration) Config {
	config.patience = patience
	return config
}

// Limits of a transaction.
const (
	MaxTxnBytes = maxTxnBytes
	MinTxnBytes = minTxnBytes
)

// Done is closed when Close was called.
func (s *Store) Done() <-chan struct{} { return s.run.Done() }
