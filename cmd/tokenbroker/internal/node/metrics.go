package node

import (
	"context"
	"net/http"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/cmd/tokenbroker/internal/httpserver"
	"tokenbroker/cmd/tokenbroker/internal/metrics"
)

// scrapeTimeout bounds what a scrape waits for the readiness checks.
const scrapeTimeout = 2 * time.Second

// gauges registers what is read at each scrape.
func (n *Node) gauges() {
	m := n.metrics
	m.Gauges("tokenbroker_actor_mailbox_messages", "Messages waiting in the mailboxes, by kind of actor.", "actor", func() map[string]float64 {
		shards, committer := n.path.MailboxDepth()
		return map[string]float64{"shard": float64(shards), "committer": float64(committer)}
	})
	m.Gauge("tokenbroker_publisher_backlog_batches", "Batches recorded and not yet sent.", func() float64 {
		return float64(n.publisher.Stats().Backlog)
	})
	m.Gauge("tokenbroker_publisher_oldest_batch_age_seconds", "How long the oldest unsent batch has been waiting; 0 without a backlog.", func() float64 {
		return n.publisher.Stats().Oldest.Seconds()
	})
	m.Gauge("tokenbroker_nats_connected", "Whether there is a link to the NATS server now (1) or not (0).", func() float64 {
		return metrics.Bool(n.bus.Connected())
	})
	n.connectionGauges()
	m.Gauge("tokenbroker_stream_listeners", "Services that listen at /revocations/stream now.", func() float64 {
		return float64(n.publisher.Hub().Listeners())
	})
	m.Gauges("tokenbroker_services", "Services that sent a receipt within the last minute, by state: fresh, stale or silent (not heard for 3 s).", "state", func() map[string]float64 {
		states := map[string]float64{"fresh": 0, "stale": 0, "silent": 0}
		for _, s := range n.receipts.Services() {
			states[serviceState(s)]++
		}
		return states
	})
	m.Gauge("tokenbroker_services_lag_batches", "Batches that the service furthest behind lacks; silent ones do not count.", func() float64 {
		var lag uint64
		for _, s := range n.receipts.Services() {
			if s.Awaited && !s.Silent() {
				lag = max(lag, s.Lag)
			}
		}
		return float64(lag)
	})
	m.Counter("tokenbroker_receipts_refused_total", "Receipts that were none, not the sender's to give, or of one service too many.", func() float64 {
		return float64(n.receipts.Refused())
	})
	m.Gauge("tokenbroker_ledger_unreadable_records", "Revocation records that cannot be read; while there are any, full catch-up answers are refused.", func() float64 {
		return float64(n.ledger.Unreadable())
	})
	m.Counter("tokenbroker_ledger_collected_records_total", "Expired revocation records that this broker deleted.", func() float64 {
		return float64(n.ledger.Collected())
	})
	n.keyGauges()
	m.Gauge("tokenbroker_store_writable", "Whether the store accepts writes (1) or refuses them (0).", func() float64 {
		return metrics.Bool(n.writable() == nil)
	})
	if n.cluster != nil {
		n.cluster.gauges()
	} else {
		m.Gauge("tokenbroker_store_free_bytes", "Free space on the store's file system; 0 when it cannot be read.", func() float64 {
			return float64(n.freeBytes())
		})
	}
	m.Gauges("tokenbroker_ready_state", "What GET /readyz says: 1 for the state that holds.", "state", func() map[string]float64 {
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
		defer cancel()
		states := map[string]float64{"ready": 0, "degraded": 0, "not_ready": 0}
		states[stateOf(n.readiness(ctx))] = 1
		return states
	})
}

// connectionGauges registers what the listeners' limits do.
func (n *Node) connectionGauges() {
	servers := []struct {
		name   string
		server *httpserver.Server
	}{{"public", n.public}, {"public", n.publicIPv6}, {"admin", n.admin}, {"socket", n.socket}}
	n.metrics.Gauges("tokenbroker_connections", "Open connections, by listener: public, admin, socket, or nats where it is embedded.", "listener", func() map[string]float64 {
		open := map[string]float64{}
		for _, s := range servers {
			if s.server != nil {
				open[s.name] += float64(s.server.Counts().Open)
			}
		}
		if n.nats != nil {
			open["nats"] = float64(n.nats.NumClients())
		}
		return open
	})
	n.metrics.Gauge("tokenbroker_connections_max", "Connections that the public listener may have.", func() float64 { return float64(n.files.Public) })
	all := func(count func(httpserver.Counts) uint64) func() float64 {
		return func() float64 {
			var sum uint64
			for _, s := range servers {
				if s.server != nil {
					sum += count(s.server.Counts())
				}
			}
			return float64(sum)
		}
	}
	n.metrics.Counter("tokenbroker_connections_evicted_total", "Connections closed for new ones because a listener or an address had as many as it may.",
		all(func(c httpserver.Counts) uint64 { return c.Evicted }))
	n.metrics.Counter("tokenbroker_connections_refused_total", "New connections closed because their address had as many as it may, all with requests in progress.",
		all(func(c httpserver.Counts) uint64 { return c.Refused }))
	n.metrics.Counter("tokenbroker_forwarded_unreadable_total", "Requests of trusted proxies whose client is unknown because an entry of X-Forwarded-For cannot be read.",
		func() float64 { return float64(n.api.UnreadableForwarded()) })
}

// stateOf is what the checks come to.
func stateOf(checks []httpapi.Check) string {
	state := "ready"
	for _, c := range checks {
		switch {
		case !c.OK:
			return "not_ready"
		case c.Degraded:
			state = "degraded"
		}
	}
	return state
}

// instrument counts the requests to a provider.
func (n *Node) instrument(provider string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper { return n.metrics.Upstream(provider, next) }
}
