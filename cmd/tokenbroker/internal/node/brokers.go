package node

import (
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/api/httpapi"
	"tokenbroker/broker/receipts"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
	"tokenbroker/store/origins"
)

// check is not ready while this broker must not sign or write.
func (c *cluster) check() httpapi.Check {
	check := httpapi.Check{Name: "brokers", OK: true, Detail: c.unready()}
	if c.pauses.refuses(c.mono()) {
		check.Detail = "the process was stopped, and has not read the store since"
	}
	if check.Detail != "" {
		check.OK = false
		return check
	}
	if err := c.lags(); err != nil {
		check.Degraded, check.Detail = true, "services get no catch-up here, because a revocation of another broker cannot be read: "+err.Error()
	} else if clock := c.run.Clock(); clock.Alarm {
		check.Degraded, check.Detail = true, clock.Reason
	}
	return check
}

// status returns the brokers of the latest reading, or nil if the store has only one broker.
func (c *cluster) status() *admin.ClusterStatus {
	if c == nil {
		return nil
	}
	s := &admin.ClusterStatus{
		Name: c.cfg.Name, ClockOffsetMS: c.run.Clock().Offset.Milliseconds(), Brokers: []admin.BrokerStatus{}, OutdatedServices: []string{},
	}
	s.OutdatedServices = append(s.OutdatedServices, c.outdated()...)
	for _, m := range c.run.Members() {
		b := admin.BrokerStatus{
			Name: m.Name, Address: m.Address, Origin: m.Origin, Version: m.Build, Since: m.Since.UTC(), Live: m.Live, Speaks: m.Speaks, Collector: m.Collector, EngineMS: m.EngineMS,
		}
		if m.Live && m.Compared {
			offset := m.Offset.Milliseconds()
			b.ClockOffsetMS = &offset
		}
		s.Brokers = append(s.Brokers, b)
	}
	return s
}

// brokerOf returns the name of the broker of an origin on record, or "".
func (c *cluster) brokerOf(origin string) string {
	if c == nil {
		return ""
	}
	for _, m := range c.run.Members() {
		if m.Origin == origin {
			return m.Name
		}
	}
	return ""
}

// outdated returns the services that do not understand several brokers.
func (n *Node) outdated() []string {
	if n.receipts == nil { // the node is starting
		return nil
	}
	return n.receipts.Outdated()
}

// gauges registers what is read at each scrape.
func (c *cluster) gauges() {
	if _, ok := c.cfg.Engine.(memberEngine); ok {
		c.memberGauges()
	}
	if _, ok := c.cfg.Engine.(postgresEngine); ok {
		c.postgresGauges()
	}
	m := c.metrics
	m.Gauge("tokenbroker_cluster_live_origins", "Brokers that run on the shared store, with this one.", func() float64 { return float64(c.run.Live()) })
	m.Gauge("tokenbroker_cluster_clock_offset_seconds", "How far this broker's clock is ahead of the median of the brokers' clocks.", func() float64 {
		return c.run.Clock().Offset.Seconds()
	})
	m.Gauge("tokenbroker_cluster_clock_limit_seconds", "How far a broker's clock may be from that median; beyond it the broker is not ready.", origins.MaxOffset.Seconds)
	m.Gauge("tokenbroker_cluster_silent", "Whether this broker must neither sign nor send heartbeats (1) or may (0).", func() float64 { return metrics.Bool(c.silent() != "") })
	m.Gauge("tokenbroker_cluster_collector", "Whether this broker deletes expired revocations and records for all brokers (1) or not (0).", func() float64 {
		for _, member := range c.run.Members() {
			if member.Origin == c.run.Origin() {
				return metrics.Bool(member.Collector)
			}
		}
		return 0
	})
	m.Gauge("tokenbroker_cluster_collector_claim_age_seconds", "How long ago a broker last claimed to delete what has expired, as far as this broker has seen; one that does so claims it each minute.",
		func() float64 { return c.run.ClaimAge().Seconds() })
	m.Counters("tokenbroker_cluster_settlements_total", "Commits whose outcome was unknown, by what was found out: written, not_written, or unknown because the origin was ended and removed.", "outcome",
		func() map[string]float64 {
			s := c.run.Stats()
			return map[string]float64{"written": float64(s.Written), "not_written": float64(s.NotWritten), "unknown": float64(s.Unknown)}
		})
	m.Counter("tokenbroker_cluster_rejoins_total", "How often this broker took a new origin because another broker had ended the present one.", func() float64 {
		return float64(c.run.Stats().Rejoins)
	})
	m.Gauge("tokenbroker_cluster_heads_lag_batches", "Batches of revocations of all brokers that are on record and not in this broker's memory.", func() float64 {
		return float64(c.ledger.Behind())
	})
	m.Gauge("tokenbroker_cluster_heads_lag_seconds", "Age of the moment up to which this broker's memory has the revocations of all brokers.", func() float64 {
		return (c.mono() - c.proved()).Seconds()
	})
	c.speakerGauges()
	if c.sweep != nil {
		m.Counter("tokenbroker_cluster_swept_records_total", "Expired records that this broker deleted from the shared store.", func() float64 { return float64(c.sweep.Deleted()) })
		m.Gauge("tokenbroker_cluster_last_sweep_timestamp_seconds", "When this broker last completed a pass over all records for expired ones (Unix time); 0 if it did not.", func() float64 {
			return float64(c.sweep.Completed())
		})
	}
	m.Gauge("tokenbroker_cluster_view_duration_seconds", "How long the latest reading of all brokers' records took.", func() float64 { return time.Duration(c.took.Load()).Seconds() })
	m.Gauge("tokenbroker_cluster_view_age_seconds", "How long ago the latest successful reading of all brokers' records began.", func() float64 {
		return (c.mono() - time.Duration(c.read.Load())).Seconds()
	})
}

// speakerGauges registers which brokers the services hear.
func (c *cluster) speakerGauges() {
	c.metrics.Gauges("tokenbroker_cluster_services", "Services that are not silent, by the name of the broker whose heartbeats they use (speaker).", "speaker", func() map[string]float64 {
		heard, _ := speakers(c.run.Members(), c.receipts.Services())
		return heard
	})
	c.metrics.Gauge("tokenbroker_cluster_services_without_speaker", "Services that are not silent and use the heartbeats of a broker that has ended; they find another one within seconds.", func() float64 {
		_, without := speakers(c.run.Members(), c.receipts.Services())
		return without
	})
}

// speakers returns the number of services that hear each live broker, by its name, and of those that hear another one.
// Services whose library is too old to report their speaker are in neither.
func speakers(members []origins.Member, services []receipts.Service) (heard map[string]float64, without float64) {
	heard, names := map[string]float64{}, map[string]string{}
	for _, m := range members {
		if m.Live {
			heard[m.Name], names[m.Origin] = 0, m.Name
		}
	}
	for _, s := range services {
		name, live := names[s.Speaker]
		switch {
		case s.Silent() || s.Speaker == "":
		case live:
			heard[name]++
		default:
			without++
		}
	}
	return heard, without
}
