package devidp

import "time"

// shelf keeps the values that were put last, at most size, each until its end.
// Not safe for concurrent use.
type shelf[V any] struct {
	size  int
	items map[string]shelved[V]
	order []string // by age; names that were taken are skipped
}

type shelved[V any] struct {
	value V
	ends  time.Time
}

func newShelf[V any](size int) *shelf[V] {
	return &shelf[V]{size: size, items: map[string]shelved[V]{}}
}

// put keeps value under a name that was never used before.
func (s *shelf[V]) put(name string, value V, ends time.Time) {
	for len(s.order) >= s.size {
		delete(s.items, s.order[0])
		s.order = s.order[1:]
	}
	s.items[name] = shelved[V]{value: value, ends: ends}
	s.order = append(s.order, name)
}

func (s *shelf[V]) get(name string, now time.Time) (V, bool) {
	item, ok := s.items[name]
	if !ok || !now.Before(item.ends) {
		var none V
		return none, false
	}
	return item.value, true
}

// take is get, and nobody gets it again.
func (s *shelf[V]) take(name string, now time.Time) (V, bool) {
	value, ok := s.get(name, now)
	delete(s.items, name)
	return value, ok
}
