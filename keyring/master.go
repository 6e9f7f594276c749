package keyring

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"
)

// masterAlgorithm is what the list of keys calls the master secrets.
const masterAlgorithm Algorithm = "HKDF-SHA256"

// newMaster draws a master secret and seals it.
func newMaster(ctx context.Context, sealer Sealer, state State, now time.Time) (masterRecord, error) {
	secret, id := make([]byte, masterSize), make([]byte, 10)
	_, _ = rand.Read(secret) // never fails
	_, _ = rand.Read(id)
	defer clear(secret)
	m := masterRecord{ID: kidEncoding.EncodeToString(id), State: state, Created: now.Unix()}
	if state == StateActive {
		m.Activates = m.Created
	}
	var err error
	if m.Sealed, err = sealer.Seal(ctx, secret, m.aad()); err != nil {
		return masterRecord{}, fmt.Errorf("sealing a master secret: %w", err)
	}
	return m, nil
}

func (m *masterRecord) info() KeyInfo {
	return KeyInfo{
		KID: m.ID, Purpose: PurposeMaster, Algorithm: masterAlgorithm, State: m.State,
		Created: unix(m.Created), Activates: unix(m.Activates), Retires: unix(m.Retires),
	}
}

// master returns the one in that state, nil if there is none.
func (r *record) master(state State) *masterRecord {
	i := slices.IndexFunc(r.Masters, func(m masterRecord) bool { return m.State == state })
	if i < 0 {
		return nil
	}
	return &r.Masters[i]
}

// acceptedMasters are the places of the master secrets in the order of [Snapshot.Keys]:
// the active one, which makes tokens, then the others.
func (r *record) acceptedMasters() []int {
	order := make([]int, 0, len(r.Masters))
	for i := range r.Masters {
		if r.Masters[i].State == StateActive {
			order = slices.Insert(order, 0, i)
			continue
		}
		order = append(order, i)
	}
	return order
}
