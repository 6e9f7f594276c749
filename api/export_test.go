package api

import (
	"slices"
	"strings"

	"tokenbroker/api/httpapi"
)

// Routes returns the registered paths, each once, as OpenAPI writes them.
func Routes(cfg Config) ([]string, error) {
	site, err := httpapi.NewSite(cfg.SiteConfig)
	if err != nil {
		return nil, err
	}
	_, routes, err := endpoints(cfg, site)
	var paths []string
	for _, r := range routes {
		paths = append(paths, strings.NewReplacer(":provider", "{provider}", ":client_id", "{client_id}").Replace(r.Path))
	}
	slices.Sort(paths)
	return slices.Compact(paths), err
}
