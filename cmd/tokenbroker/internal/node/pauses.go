package node

import (
	"sync"
	"time"

	"tokenbroker/revocation"
)

const (
	// pulseEvery is how often a running process notes the time.
	pulseEvery = 250 * time.Millisecond
	// pauseAfter is how long a process has to be without a pulse to count as stopped. It is shorter than every
	// grace of refresh tokens that a shared engine permits.
	pauseAfter = 2 * time.Second
)

// pauses notices that the process was stopped, or its machine suspended. The sockets of such a process have old
// requests, which their clients have sent to another broker in the meantime: a refresh among them would be taken
// for a stolen token. So nothing is served until the shared store has been read again, and nothing on the
// connections that were accepted before that. It is safe for concurrent use.
type pauses struct {
	mono func() time.Duration
	wall func() time.Time

	mu   sync.Mutex // guards the rest
	last revocation.Instant
	// woke is when the latest pause was noticed, read when the latest reading of the store began, and reopened when
	// requests were admitted again. All are times of mono.
	woke, read, reopened time.Duration
}

func newPauses(mono func() time.Duration, wall func() time.Time) *pauses {
	return &pauses{mono: mono, wall: wall, last: revocation.ReadInstant(mono, wall)}
}

// begin notes that the process begins to serve. The time that its start took does not count as a pause.
func (p *pauses) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.woke = revocation.ReadInstant(p.mono, p.wall), 0
}

// running returns an error after a pause, until the shared store has been read again.
func (p *pauses) running() error {
	if p.refuses(p.mono()) {
		return cannotAnswer("the process was stopped, and has not read the store since")
	}
	return nil
}

// pulse notes the time. It has to be called every pulseEvery. It reports whether the process was stopped before.
func (p *pauses) pulse() (paused bool) {
	now := revocation.ReadInstant(p.mono, p.wall)
	p.mu.Lock()
	defer p.mu.Unlock()
	paused = p.note(now)
	p.last = now
	return paused
}

// note reports whether the process was stopped between the latest pulse and now.
func (p *pauses) note(now revocation.Instant) bool {
	ran := now.Mono - p.last.Mono
	passed := time.Duration(now.WallMS-p.last.WallMS) * time.Millisecond // longer than ran after a suspension
	if max(ran, passed) <= pauseAfter {
		return false
	}
	p.woke = now.Mono
	return true
}

// stored notes that the shared store was read, by a reading that began at the time began of mono.
func (p *pauses) stored(began time.Duration) {
	now := revocation.ReadInstant(p.mono, p.wall)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(now)
	p.read = max(p.read, began)
	if p.reopened < p.woke && p.woke < p.read {
		p.reopened = now.Mono
	}
}

// refuses reports whether a request has to be refused that came on a connection accepted at that time of mono.
// The connection then has to be closed.
func (p *pauses) refuses(accepted time.Duration) bool {
	now := revocation.ReadInstant(p.mono, p.wall)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(now)
	return p.reopened < p.woke || accepted < p.reopened
}
