package actor

import "time"

// gathering is how long the next batch waits for more messages: as group commit does in
// databases, so that those who were answered together, and ask again at once, share the next
// batch, too. It knows only the batch before.
type gathering struct {
	// want is how many messages are worth waiting for; below two nobody is waited for.
	want int
	// limit is the longest wait.
	limit time.Duration
	// until is when the first message has to have come: later, those who were answered are not
	// about any more. They have as long as their batch took.
	until time.Time
}

// after says how the batch after one of size messages is gathered, which was done at ended and
// took so long while waiting others came in. A message that was alone makes nobody wait; the wait is at most a third
// of the batch that it may save, and at most limit.
func after(size, waiting int, ended time.Time, took, limit time.Duration) gathering {
	if size+waiting < 2 {
		return gathering{}
	}
	return gathering{want: size + waiting, limit: min(took/3, limit), until: ended.Add(took)}
}

// gather takes messages until the batch has as many as are worth waiting for, or the wait
// was long enough. It reports whether the mailbox is still open.
func (a *Actor[Q, A]) gather(batch []*message[Q, A]) ([]*message[Q, A], bool) {
	want := min(a.next.want, a.cfg.MaxBatch)
	if a.next.limit <= 0 || len(batch)+len(a.mailbox) >= want || batch[0].entered.After(a.next.until) {
		return batch, true
	}
	timer := time.NewTimer(a.next.limit)
	defer timer.Stop()
	for len(batch) < want {
		select {
		case m, open := <-a.mailbox:
			if !open {
				return batch, false
			}
			batch = a.admit(batch, m)
		case <-timer.C:
			return batch, true
		}
	}
	return batch, true
}
