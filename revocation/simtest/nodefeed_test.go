package simtest_test

import (
	"encoding/json"

	"tokenbroker/revocation"
)

// announce sends a batch to the feed, as it is on record.
func (n *node) announce(origin string, seq uint64) {
	b := n.c.audit.of(origin).batches[seq]
	if b == nil {
		return // and the acknowledgement fails
	}
	var batch revocation.Batch
	if err := json.Unmarshal(b.value, &batch); err != nil {
		n.w.fail("%v", err)
	}
	n.publish(n.w.seal(n.c.keys.signing, revocation.Message{Batch: &batch}, false))
}

func (n *node) publish(raw []byte) {
	if n.w.now < n.cutFeed {
		n.backlog = append(n.backlog, raw)
		return
	}
	for _, raw := range n.backlog {
		n.w.publish(raw)
	}
	n.backlog = n.backlog[:0]
	n.w.publish(raw)
}
