package simtest_test

import (
	"encoding/json"
	"fmt"

	"tokenbroker/store"
)

// keyringKey is the key of a model of the keyring.
const keyringKey = "keyring"

// ring is a version of the keyring, made of the one before.
type ring struct {
	ID     string `json:"id"`
	Parent string `json:"parent"`
}

// rotateKeyring replaces the keyring by the next version.
func (p *task) rotateKeyring() {
	r, err := p.run.GetMany(p.ctx, []string{keyringKey})
	if !p.turn() || err != nil {
		return
	}
	var old ring
	if r[0].Revision != 0 {
		if err := json.Unmarshal(r[0].Value, &old); err != nil {
			p.n.w.fail("%v", err)
		}
	}
	value, err := json.Marshal(ring{ID: fmt.Sprintf("ring %d", p.n.w.steps), Parent: old.ID})
	if err != nil {
		p.n.w.fail("%v", err)
	}
	p.commit(store.Change{Writes: []store.Write{{Key: keyringKey, Value: value, Expect: r[0].Revision}}})
}
