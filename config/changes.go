package config

import (
	"reflect"
	"slices"
	"strings"
)

// Changes returns the sorted keys whose values differ between two configurations that [Load]
// returned: those that a reload can apply, and those that need a restart. It does not notice a TLS file
// whose content changed.
func Changes(before, after *Config) (reloadable, restart []string) {
	bothTLS := before.TLS.CertFile != "" && after.TLS.CertFile != ""
	bothAdmin := before.Admin.TLSCertFile != "" && after.Admin.TLSCertFile != ""
	bothNATS := before.NATS.TLSCertFile != "" && after.NATS.TLSCertFile != ""
	seen := map[string]bool{}
	for _, cfg := range []*Config{before, after} {
		schema.leaves(nil, cfg.ids, func(at path, _ *node) {
			key := at.String()
			if at[0] == "clients" { // of a client that only one of them has, the key is that of the client
				_, had := before.Clients[at[1]]
				if _, has := after.Clients[at[1]]; had != has {
					at = at[:2]
					key = at.String()
				}
			}
			if seen[key] || same(valueAt(before, at), valueAt(after, at)) {
				return
			}
			seen[key] = true
			switch {
			case key == "log.level", key == "origins", strings.HasPrefix(key, "clients."), bothTLS && strings.HasPrefix(key, "tls."), bothNATS && strings.HasPrefix(key, "nats.tls_"),
				bothAdmin && strings.HasPrefix(key, "admin.tls_"):
				reloadable = append(reloadable, key)
			default:
				restart = append(restart, key)
			}
		})
	}
	slices.Sort(reloadable)
	slices.Sort(restart)
	return reloadable, restart
}

// same reports whether two values of a key are equal. An empty list equals a missing one. A value that
// only one configuration has, as that of an entry, differs.
func same(a, b any) bool {
	listA, okA := a.([]string)
	listB, okB := b.([]string)
	if okA && okB {
		return slices.Equal(listA, listB)
	}
	return reflect.DeepEqual(a, b)
}
