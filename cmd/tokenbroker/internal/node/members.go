package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/store/etcdstore"
)

// membersEvery is how often the members of the engine are asked for their state.
const membersEvery = 5 * time.Second

// memberEngine is implemented by an engine that is a cluster of servers.
type memberEngine interface {
	// Full reports whether the cluster refused the last commit for lack of space.
	Full() bool
	// Members returns the state of each server. It waits a bounded time for those that do not answer.
	Members(ctx context.Context) []etcdstore.Member
}

// watchMembers asks the members of the engine for their state until ctx ends.
func (c *cluster) watchMembers(ctx context.Context, engine memberEngine) error {
	tick := time.NewTicker(membersEvery)
	defer tick.Stop()
	for {
		members := MembersOf(ctx, engine)
		if ctx.Err() != nil {
			return nil
		}
		c.members.Store(&members)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// MembersOf asks the members of an engine for their state.
func MembersOf(ctx context.Context, engine memberEngine) []admin.EngineMember {
	var members []admin.EngineMember
	for _, m := range engine.Members(ctx) {
		member := admin.EngineMember{
			Endpoint: m.Endpoint, OK: m.Err == nil && m.HasLeader, Version: m.Version, Leader: m.Leader,
			SizeBytes: m.Size, InUseBytes: m.InUse, QuotaBytes: m.Quota, Alarms: m.Alarms,
		}
		switch {
		case m.Err != nil:
			member.Detail = m.Err.Error()
		case !m.HasLeader:
			member.Detail = "it knows no leader"
		}
		members = append(members, member)
	}
	return members
}

// engineMembers returns the state of the members when they were last asked, or nil if the engine has none.
func (c *cluster) engineMembers() []admin.EngineMember {
	if c == nil {
		return nil
	}
	if members := c.members.Load(); members != nil {
		return *members
	}
	return nil
}

// full returns an error while the engine refuses writes because it has no space.
func (c *cluster) full() error {
	switch engine := c.cfg.Engine.(type) {
	case memberEngine:
		if engine.Full() || c.alarmed("NOSPACE") {
			return errors.New("the etcd cluster has no space: compact and defragment it, or raise its quota, then disarm the alarm")
		}
	case postgresEngine:
		if engine.Full() {
			return errors.New("the disk of the PostgreSQL server is full")
		}
	}
	return nil
}

// alarmed reports whether a member has raised that alarm.
func (c *cluster) alarmed(alarm string) bool {
	return slices.ContainsFunc(c.engineMembers(), func(m admin.EngineMember) bool { return slices.Contains(m.Alarms, alarm) })
}

// engineCheck is not ready while the engine has no space, and degraded while a server of it does not answer, lacks its standby, or has raised
// another alarm.
func (c *cluster) engineCheck() httpapi.Check {
	check := httpapi.Check{Name: "engine", OK: true}
	if err := c.full(); err != nil {
		check.OK, check.Detail = false, err.Error()
		return check
	}
	if _, ok := c.cfg.Engine.(postgresEngine); ok {
		return c.postgresCheck()
	}
	for _, m := range c.engineMembers() {
		switch {
		case !m.OK:
			check.Degraded, check.Detail = true, m.Endpoint+": does not answer, or has no leader"
		case len(m.Alarms) > 0:
			check.Degraded, check.Detail = true, m.Endpoint+": has raised the alarm "+m.Alarms[0]
			return check
		}
	}
	return check
}

// memberGauges registers what is known of the members.
func (c *cluster) memberGauges() {
	m := c.metrics
	m.Gauges("tokenbroker_etcd_members", "Members of the etcd cluster, by whether they answer and have a leader (ok) or not (failed).", "state", func() map[string]float64 {
		states := map[string]float64{"ok": 0, "failed": 0}
		for _, member := range c.engineMembers() {
			if member.OK {
				states["ok"]++
			} else {
				states["failed"]++
			}
		}
		return states
	})
	m.Gauge("tokenbroker_etcd_full", "Whether the etcd cluster refuses writes because it has no space (1) or not (0).", func() float64 { return metrics.Bool(c.full() != nil) })
	m.Gauges("tokenbroker_etcd_alarms", "Members of the etcd cluster that report an alarm, by alarm: NOSPACE or CORRUPT.", "alarm", func() map[string]float64 {
		alarms := map[string]float64{"NOSPACE": 0, "CORRUPT": 0}
		for _, member := range c.engineMembers() {
			for _, alarm := range member.Alarms {
				alarms[alarm]++
			}
		}
		return alarms
	})
	largest := func(of func(admin.EngineMember) int64) func() float64 {
		return func() float64 {
			var most int64
			for _, member := range c.engineMembers() {
				most = max(most, of(member))
			}
			return float64(most)
		}
	}
	m.Gauge("tokenbroker_etcd_database_bytes", "Size of the largest database of an etcd member.", largest(func(m admin.EngineMember) int64 { return m.SizeBytes }))
	m.Gauge("tokenbroker_etcd_database_in_use_bytes", "Part of that size that is not free; defragmenting a member returns the rest.", largest(func(m admin.EngineMember) int64 { return m.InUseBytes }))
	m.Gauge("tokenbroker_etcd_quota_bytes", "Limit of an etcd member's database; 0 if it is not known.", largest(func(m admin.EngineMember) int64 { return m.QuotaBytes }))
}
