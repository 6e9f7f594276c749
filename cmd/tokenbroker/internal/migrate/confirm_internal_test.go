package migrate

import (
	"errors"
	"testing"

	"tokenbroker/store"
)

// TestTheCopyOfAnOldPrimaryIsNotStarted copies from a primary that another server had replaced, and that is not used any more when
// the source is marked.
func TestTheCopyOfAnOldPrimaryIsNotStarted(t *testing.T) {
	w := newWorld(t, false, false)
	primary := w.from.engine.OpenPrimary(nil)
	cfg := w.config()
	cfg.From.Engine = primary
	copying := true
	cfg.Progress = func(int) (func(int), func()) {
		replaced := copying
		if copying = false; replaced {
			primary.Replace()
		}
		return func(int) {
			if replaced {
				replaced = false
				primary.Reconnect()
			}
		}, func() {}
	}
	plan, err := Prepare(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = plan.Run(t.Context())
	if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, ErrIncomplete) {
		t.Errorf("got %v", err)
	}
}
