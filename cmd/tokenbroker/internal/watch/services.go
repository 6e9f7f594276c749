package watch

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"tokenbroker/api/admin"
	"tokenbroker/broker/receipts"
)

// servicesEvery is the interval at which the states of services are compared.
const servicesEvery = 250 * time.Millisecond

// serviceName names a service: by the name that it sends and by its source, which it cannot choose.
type serviceName struct{ source, service string }

func sortedNames(services map[serviceName]admin.WatchService) []serviceName {
	return slices.SortedFunc(maps.Keys(services), func(a, b serviceName) int {
		return cmp.Or(strings.Compare(a.service, b.service), strings.Compare(a.source, b.source))
	})
}

// watchServices shows all services, and then each service whose state changes.
func (h *Hub) watchServices(ctx context.Context) {
	defer h.forgetServices()
	ticker := time.NewTicker(servicesEvery)
	defer ticker.Stop()
	for {
		h.showServices(h.config.Receipts.Services())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// forgetServices makes the next call of showServices show all services.
func (h *Hub) forgetServices() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.services = nil
}

// showServices shows the services whose state differs from the last call, or that hear another broker.
func (h *Hub) showServices(list []receipts.Service) {
	h.mu.Lock()
	defer h.mu.Unlock() // held to the end, so that a new watcher gets each state once
	before := h.services
	now := make(map[serviceName]admin.WatchService, len(list))
	var changed []admin.WatchService
	for _, s := range list {
		name := serviceName{s.Source, s.Service}
		v := h.serviceEvent(s)
		if v.Before = before[name].State; v.Before != v.State || v.Speaker != before[name].Speaker {
			changed = append(changed, v)
		}
		now[name] = v
	}
	for _, name := range sortedNames(before) {
		if _, there := now[name]; !there {
			v := before[name]
			v.Before, v.State, v.At = v.State, admin.ServiceGone, h.config.Ledger.Now().UTC()
			changed = append(changed, v)
		}
	}
	h.services = now
	for _, v := range changed {
		h.showHeld(h.encode(v.Type, batchID{}, v))
	}
}

func (h *Hub) serviceEvent(s receipts.Service) admin.WatchService {
	state := admin.ServiceStale
	switch {
	case s.Silent():
		state = admin.ServiceSilent
	case s.Fresh:
		state = admin.ServiceFresh
	}
	v := admin.WatchService{
		Type: admin.WatchTypeService, Service: s.Service, Source: s.Source, State: state,
		Lag: s.Lag, AgeMS: s.Age.Milliseconds(), At: h.config.Ledger.Now().UTC(),
	}
	if h.config.BrokerName != nil {
		v.Speaker, v.SpeakerName = s.Speaker, h.config.BrokerName(s.Speaker)
	}
	return v
}
