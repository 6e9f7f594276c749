package config

import (
	"reflect"
	"slices"
	"strings"
)

// Changes are the keys whose values differ between two configurations that [Load] gave,
// sorted: those that a reload can take over, and those that need a restart. The content of
// TLS files may change under the same names: that is not seen here.
func Changes(before, after *Config) (reloadable, restart []string) {
	bothTLS := before.TLS.CertFile != "" && after.TLS.CertFile != ""
	bothAdmin := before.Admin.TLSCertFile != "" && after.Admin.TLSCertFile != ""
	bothNATS := before.NATS.TLSCertFile != "" && after.NATS.TLSCertFile != ""
	seen := map[string]bool{}
	for _, cfg := range []*Config{before, after} {
		schema.leaves(nil, cfg.ids, func(at path, _ *node) {
			key := at.String()
			if seen[key] || same(valueAt(before, at), valueAt(after, at)) {
				return
			}
			seen[key] = true
			switch {
			case key == "log.level", key == "origins", bothTLS && strings.HasPrefix(key, "tls."), bothNATS && strings.HasPrefix(key, "nats.tls_"),
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

// same compares two values of a key; an empty list is like none. A value that only one
// side has (an entry's) differs.
func same(a, b any) bool {
	listA, okA := a.([]string)
	listB, okB := b.([]string)
	if okA && okB {
		return slices.Equal(listA, listB)
	}
	return reflect.DeepEqual(a, b)
}
