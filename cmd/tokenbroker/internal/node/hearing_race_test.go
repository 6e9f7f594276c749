//go:build race

package node_test

import "time"

// hearing is longer under the race detector, whose thousand readers share the machine.
const hearing = 5 * time.Second
