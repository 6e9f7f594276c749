package node

import (
	"context"
	"io"

	"github.com/prometheus/client_golang/prometheus"

	"tokenbroker/api/admin"
	"tokenbroker/broker/commit"
	"tokenbroker/store"
)

// Path returns the broker's commit path.
func Path(n *Node) *commit.Path { return n.path }

// Records returns the store of a node.
func Records(n *Node) store.Reader { return n.store }

// Registry returns the registry of the broker's metrics.
func Registry(n *Node) prometheus.Collector { return n.metrics.Gatherer().(prometheus.Collector) }

// OperatorKeys returns the keyring that the operators' handler uses.
func OperatorKeys(n *Node) admin.Keys { return operatorKeys{n} }

// Backup writes a backup, as the operators' handler does.
func (n *Node) Backup(ctx context.Context, w io.Writer) error { return n.backup(ctx, w) }
