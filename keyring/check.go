package keyring

import "fmt"

// check holds the rules that every record obeys.
func (r *record) check() error {
	type place struct {
		purpose Purpose
		state   State
	}
	count, dead, seen := map[place]int{}, map[string]bool{}, map[string]bool{}
	for _, kid := range r.Compromised {
		dead[kid] = true
	}
	for i := range r.Keys {
		k := &r.Keys[i]
		if err := k.Algorithm.check(); err != nil {
			return fmt.Errorf("keyring: key %q: %w", k.KID, err)
		}
		switch {
		case k.Purpose != PurposeAccess && k.Purpose != PurposeFeed:
			return fmt.Errorf("%w: key %q has the unknown purpose %q", ErrCorrupt, k.KID, k.Purpose)
		case k.Purpose == PurposeFeed && k.Algorithm != EdDSA:
			return fmt.Errorf("%w: feed key %q is of %s", ErrCorrupt, k.KID, k.Algorithm)
		case !k.State.published() && k.State != StateRetired && k.State != StateCompromised:
			return fmt.Errorf("%w: key %q has the unknown state %q", ErrCorrupt, k.KID, k.State)
		case seen[k.KID]:
			return fmt.Errorf("%w: key %q stands in it twice", ErrCorrupt, k.KID)
		case dead[k.KID] != (k.State == StateCompromised):
			return fmt.Errorf("%w: key %q is %s, the list of compromised keys says otherwise", ErrCorrupt, k.KID, k.State)
		}
		seen[k.KID] = true
		count[place{k.Purpose, k.State}]++
	}
	for _, purpose := range []Purpose{PurposeAccess, PurposeFeed} {
		for _, state := range []State{StateActive, StateNext} {
			if n := count[place{purpose, state}]; n != 1 {
				return fmt.Errorf("%w: %d %s keys are %s, not one", ErrCorrupt, n, purpose, state)
			}
		}
	}
	return r.checkMasters()
}

func (r *record) checkMasters() error {
	count, seen := map[State]int{}, map[string]bool{}
	for i := range r.Masters {
		m := &r.Masters[i]
		switch {
		case !m.State.published():
			return fmt.Errorf("%w: master secret %q has the unknown state %q", ErrCorrupt, m.ID, m.State)
		case seen[m.ID]:
			return fmt.Errorf("%w: master secret %q stands in it twice", ErrCorrupt, m.ID)
		}
		seen[m.ID] = true
		count[m.State]++
	}
	if count[StateActive] != 1 || count[StateNext] > 1 {
		return fmt.Errorf("%w: %d master secrets are active and %d next", ErrCorrupt, count[StateActive], count[StateNext])
	}
	return nil
}
