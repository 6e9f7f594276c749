package node

import (
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
)

// keyringCheck is ready in any case: the present keys sign on whatever a rotation does.
func (n *Node) keyringCheck() httpapi.Check {
	check := httpapi.Check{Name: "keyring", OK: true}
	switch status := n.keys.Status(); {
	case len(status.Overdue) > 0:
		check.Degraded = true
		check.Detail = "the rotation of " + purposes(status.Overdue) + " is overdue; the old key signs on" + goodUntil(status)
	case status.Err != nil:
		check.Degraded = true
		check.Detail = "keys cannot be rotated for now; the present ones sign on"
	}
	return check
}

func goodUntil(s keyring.Status) string {
	if s.OldKeyUntil.IsZero() {
		return ""
	}
	return ", and should be replaced by " + s.OldKeyUntil.UTC().Format(time.RFC3339)
}

// alertOverdue writes a line when a rotation becomes overdue, and when none is any more.
func (n *Node) alertOverdue(was bool) (is bool) {
	status := n.keys.Status()
	is = len(status.Overdue) > 0
	switch {
	case is && !was:
		attrs := []any{"purposes", purposes(status.Overdue)}
		if !status.OldKeyUntil.IsZero() {
			attrs = append(attrs, "old_key_until", status.OldKeyUntil.UTC())
		}
		if status.Err != nil {
			attrs = append(attrs, "since", status.Since.UTC(), "error", status.Err)
		}
		n.cfg.Logger.Error("ALERT: a key rotation is overdue; the old key signs on"+goodUntil(status), attrs...)
	case !is && was:
		n.cfg.Logger.Info("no key rotation is overdue any more")
	}
	return is
}

// keyGauges registers what is read of the keyring at each scrape.
func (n *Node) keyGauges() {
	n.metrics.Gauge("tokenbroker_keyring_rotation_failing", "Whether a key rotation fails or is overdue (1) or not (0); the old key signs on.", func() float64 {
		status := n.keys.Status()
		return metrics.Bool(status.Err != nil || len(status.Overdue) > 0)
	})
	n.metrics.Gauges("tokenbroker_keyring_active_key_age_seconds", "How long the active key of a purpose has been signing.", "purpose", func() map[string]float64 {
		now, ages := n.ledger.Now(), map[string]float64{}
		for _, k := range n.keys.List() {
			if k.State == lifecycle.StateActive {
				ages[string(k.Purpose)] = now.Sub(k.Activates).Seconds()
			}
		}
		return ages
	})
	n.metrics.Gauges("tokenbroker_keyring_next_step_seconds", "How long until something happens to a key of the purpose by itself; missing when nothing will.", "purpose", func() map[string]float64 {
		now, steps := n.ledger.Now(), map[string]float64{}
		for _, k := range n.keys.List() {
			left := k.NextStepAt.Sub(now).Seconds()
			if first, ok := steps[string(k.Purpose)]; !k.NextStepAt.IsZero() && (!ok || left < first) {
				steps[string(k.Purpose)] = left
			}
		}
		return steps
	})
}
