package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/keyring"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
	"tokenbroker/store"
)

const (
	// keyChanges is how many changes of keys may wait to be published over NATS. Further ones are only
	// logged.
	keyChanges = 64
	// keyWatch is the interval between two checks for overdue rotations.
	keyWatch = 30 * time.Second
	// lifeRetry is the pause after a failure to settle the life of access tokens.
	lifeRetry = 10 * time.Second
)

// openKeys opens the keyring with the KEK of the configuration or of the data directory.
func (n *Node) openKeys(ctx context.Context) error {
	n.changes = make(chan lifecycle.Change, keyChanges)
	open := func(kek keyring.KEK) error {
		sealer, err := keyring.NewAESGCM(kek)
		if err != nil {
			return err
		}
		n.keys, err = keyring.Open(ctx, keyring.Config{
			Store: keyringStore{n.store}, Shared: n.cluster != nil, ClockTrusted: n.clockTrusted, Sealer: sealer, StoreID: n.ledger.StoreID(),
			Schedule: n.cfg.Schedule, TokenLife: n.cfg.Policy.AccessLife, MasterLife: n.cfg.Policy.Absolute,
			LastExpiry: func(ctx context.Context) (time.Time, error) { return commit.LastExpiry(ctx, n.store) },
			OnChange:   n.keyChanged, Now: n.ledger.Now, Logger: n.cfg.Logger,
		})
		if err != nil {
			return err
		}
		n.kek.backups, err = keyring.NewBackupSealer(kek)
		return err
	}
	own, err := n.ownKEK(ctx, n.store)
	if err != nil {
		return err
	}
	n.kek = kekSource{own: &own, named: "the KEK file " + own.path}
	if n.cfg.KEK != nil {
		n.kek = kekSource{named: n.cfg.Setting("keyring.kek")}
		err = open(n.cfg.KEK)
	} else {
		err = own.open(open)
	}
	switch {
	case errors.Is(err, keyring.ErrWrongKEK):
		return fmt.Errorf("with %s: %w; start with the KEK file (or variable) that this data was written with, it cannot be made again", n.kek.named, err)
	case errors.Is(err, keyring.ErrCorrupt):
		return fmt.Errorf("the data in %s: %w; nothing was changed, restore it from a backup", n.cfg.DataDir, err)
	case err != nil:
		return err
	}
	n.deny.SetKids(n.keys.Compromised())
	_, err = n.settleLife(ctx)
	return err
}

// ownKEK returns the KEK of the data directory, for a store with or without a keyring.
func (n *Node) ownKEK(ctx context.Context, records store.Reader) (ownKEK, error) {
	_, err := records.Get(ctx, KeyringKey)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return ownKEK{}, fmt.Errorf("looking for the keyring: %w", err)
	}
	return ownKEK{path: KEKFile(n.cfg.DataDir), needed: err == nil}, nil
}

// clockTrusted reports whether the other brokers, if there are any, confirm the clock.
func (n *Node) clockTrusted() bool { return n.cluster == nil || n.cluster.silent() == "" }

// startKeys starts the keyring's own loop and keepKeys.
func (n *Node) startKeys() {
	n.background(func(ctx context.Context) error {
		_ = n.keys.Run(ctx) // ctx's own error
		return nil
	})
	n.background(n.keepKeys)
}

// keepKeys publishes changes of keys, checks for overdue rotations and applies a changed life of access
// tokens.
func (n *Node) keepKeys(ctx context.Context) error {
	watch := time.NewTicker(keyWatch)
	defer watch.Stop()
	life := time.NewTimer(0)
	defer life.Stop()
	overdue := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-n.changes:
			n.publishKey(c)
			n.showKey(c)
		case <-watch.C:
			overdue = n.alertOverdue(overdue)
			if n.cluster != nil { // a broker with another life may have come or gone
				life.Reset(0)
			}
		case <-life.C:
			next, err := n.settleLife(ctx)
			switch {
			case err != nil && ctx.Err() == nil:
				n.cfg.Logger.Error("the life of access tokens stays as it is", "error", err)
				life.Reset(lifeRetry)
			case !next.IsZero():
				life.Reset(max(next.Sub(n.ledger.Now()), time.Second))
			}
		}
	}
}

// settleLife sets the lives of access tokens that are published and signed now. next is when to call it again.
//
// While brokers of one store are configured differently, as during a change of one broker at a time, each settles the
// longest of their lives. So a longer one is published by all before any signs it, and a shorter one not before all sign it and
// the tokens of the last broker that did not have expired.
func (n *Node) settleLife(ctx context.Context) (next time.Time, err error) {
	published, signed, next, err := n.keys.TokenLife(ctx, n.longestLife())
	if err == nil {
		n.lives.published.Store(int64(published))
		n.lives.signed.Store(int64(min(signed, n.configuredLife())))
	}
	return next, err
}

// keyChanged is called for each change of the keyring that is in use. It updates the broker's own denylist first.
func (n *Node) keyChanged(c lifecycle.Change) {
	if c.What == lifecycle.ChangeCompromised {
		n.deny.SetKids(n.keys.Compromised())
	}
	var attrs []any
	if c.Key.KID != "" {
		attrs = append(attrs, "kid", c.Key.KID, "purpose", string(c.Key.Purpose), "algorithm", string(c.Key.Algorithm), "state", string(c.Key.State))
	}
	broker.Audit{Logger: n.cfg.Audit}.Info(context.Background(), c.What, broker.Request{}, attrs...)
	select {
	case n.changes <- c:
	default:
	}
}

// publishKey publishes a change over NATS. A change that cannot be sent now is not sent later.
func (n *Node) publishKey(c lifecycle.Change) {
	raw, err := n.keys.SignFeed(revocation.KeysType, revocation.KeyEvent{
		V: revocation.Version, Store: n.ledger.StoreID(), Origin: n.ledger.Origin(), At: c.At.Unix(), What: c.What,
		KID: c.Key.KID, Purpose: string(c.Key.Purpose), Algorithm: string(c.Key.Algorithm), State: string(c.Key.State),
	})
	if err == nil {
		err = n.bus.Publish(revocation.KeysSubject+n.ledger.Origin(), raw)
	}
	if err != nil {
		n.cfg.Logger.Warn("a change of keys was not published over NATS", "what", c.What, "kid", c.Key.KID, "error", err)
	}
}

// algorithms returns the algorithms of the published access keys.
func (n *Node) algorithms() []string {
	var algorithms []string
	for _, k := range n.keys.List() {
		name := string(k.Algorithm)
		if k.Purpose == lifecycle.PurposeAccess && published(k.State) && !slices.Contains(algorithms, name) {
			algorithms = append(algorithms, name)
		}
	}
	return algorithms
}

func published(s lifecycle.State) bool {
	return s == lifecycle.StateNext || s == lifecycle.StateActive || s == lifecycle.StateRetiring
}

// purposes returns the names of purposes, separated by commas.
func purposes(all []lifecycle.Purpose) string {
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

// keyringCheck is not ready while the keyring of a shared store is outdated. Otherwise the present keys continue to sign if
// a rotation fails.
func (n *Node) keyringCheck() httpapi.Check {
	check := httpapi.Check{Name: "keyring", OK: true}
	switch status := n.keys.Status(); {
	case n.keys.Outdated() != nil:
		check.OK, check.Detail = false, "the keyring could not be read for too long"
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

// alertOverdue logs when a rotation becomes overdue, and when none is overdue any more. It reports whether one is.
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

// keyGauges registers the gauges of the keyring.
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
