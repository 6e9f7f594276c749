package revocation

import "slices"

type watcher struct{ call func([]Event) }

// Watch calls f with the events of each [Denylist.Apply], with what [Denylist.ReadAnswer]
// applied, as events without a reason, and with the keys that are new to
// [Denylist.SetKids], as events of their kind and value alone, after they are in force and
// before the caller goes on. So whoever starts to care about a token first and asks
// [Denylist.Judge] then misses nothing.
//
// f is called by whoever applies, at times by several at once: it must be quick, must not
// keep the slice and must not call Watch or its stop. It may be called once more while
// stop returns.
func (d *Denylist) Watch(f func([]Event)) (stop func()) {
	w := &watcher{call: f}
	d.rewatch(func(all []*watcher) []*watcher { return append(all, w) })
	return func() {
		d.rewatch(func(all []*watcher) []*watcher {
			return slices.DeleteFunc(all, func(one *watcher) bool { return one == w })
		})
	}
}

// rewatch replaces the list by a changed copy, so that readers need no lock.
func (d *Denylist) rewatch(change func([]*watcher) []*watcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*watcher
	if old := d.watchers.Load(); old != nil {
		all = slices.Clone(*old)
	}
	all = change(all)
	d.watchers.Store(&all)
}

func (d *Denylist) watched() bool {
	all := d.watchers.Load()
	return all != nil && len(*all) > 0
}

func (d *Denylist) tell(events []Event) {
	all := d.watchers.Load()
	if all == nil || len(events) == 0 {
		return
	}
	for _, w := range *all {
		w.call(events)
	}
}
