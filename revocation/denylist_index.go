package revocation

// index finds places by their hash: open addressing with linear probing, at most half full.
// A slot has the place in its lower half and the hash in its upper one, so that neither
// growing nor removing looks at a key. A Go map in its stead takes twice the memory and, in
// a table of a million, twice the time: it keeps the keys once more.
type index struct {
	slots []uint64 // a power of two of them; 0: free
	used  int
}

type indexHash uint32

const firstSlots = 16

// home is where the search for a hash begins; without slots, anywhere.
func (x *index) home(h indexHash) int { return int(h) & (len(x.slots) - 1) }

func (x *index) next(i int) int { return (i + 1) & (len(x.slots) - 1) }

// at gives what lies in a slot; the place 0 ends a search.
func (x *index) at(i int) (indexHash, place) {
	if uint(i) >= uint(len(x.slots)) { // there are none; i may be below 0 where an int has 32 bits
		return 0, 0
	}
	s := x.slots[i]
	return indexHash(s >> 32), place(s)
}

// put adds a place that is not here.
func (x *index) put(h indexHash, p place) {
	if 2*x.used >= len(x.slots) {
		x.grow()
	}
	x.insert(uint64(h)<<32 | uint64(p))
	x.used++
}

func (x *index) insert(slot uint64) {
	i := x.home(indexHash(slot >> 32))
	for x.slots[i] != 0 {
		i = x.next(i)
	}
	x.slots[i] = slot
}

func (x *index) grow() {
	old := x.slots
	x.slots = make([]uint64, max(2*len(old), firstSlots))
	for _, s := range old {
		if s != 0 {
			x.insert(s)
		}
	}
}

// remove takes out a place that is here, and moves up what lies behind it and would not be
// found over the gap.
func (x *index) remove(h indexHash, p place) {
	gap := x.home(h)
	for place(x.slots[gap]) != p {
		gap = x.next(gap)
	}
	mask := len(x.slots) - 1
	for i := x.next(gap); x.slots[i] != 0; i = x.next(i) {
		if home := x.home(indexHash(x.slots[i] >> 32)); (i-home)&mask >= (i-gap)&mask {
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = 0
	x.used--
}
