package validator

import "time"

// lookEvery bounds how long the clock is trusted to go on as it does: the broker's may be
// put forward.
const lookEvery = time.Second

// wakeFor sees to it that the one timer fires when exp (Unix s) comes. It is called with mu
// held. A timer that fires too early costs one look.
func (b *bindings) wakeFor(exp int64) {
	now := b.nowMS()
	wait := min(max(exp*1000-now, 0), lookEvery.Milliseconds())
	if b.timer != nil && b.wakeMS <= now+wait {
		return
	}
	if b.timer != nil {
		if !b.timer.Stop() {
			return // it fires now, and looks
		}
		b.running.Done()
	}
	b.running.Add(1)
	b.wakeMS = now + wait
	b.timer = time.AfterFunc(time.Duration(wait)*time.Millisecond, b.wake)
}

// wake ends what has expired and sets the timer anew while anything is left.
func (b *bindings) wake() {
	defer b.running.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.timer = nil
	now, next := b.nowMS(), int64(0)
	for exp := range b.seconds {
		if exp*1000 <= now {
			for p := b.seconds[exp]; p != 0; p = b.seconds[exp] {
				b.end(p, ErrExpired)
			}
		} else if next == 0 || exp < next {
			next = exp
		}
	}
	if b.live > 0 {
		b.wakeFor(next)
	}
}
