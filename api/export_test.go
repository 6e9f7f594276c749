package api

import (
	"sort"
	"strings"
)

// PublicCodes are the codes that the public listener can answer with.
func PublicCodes() []string {
	var codes []string
	for c := range kinds {
		if c != CodeUnknownHost && c != CodeUnauthorized && c != CodeClientClosed {
			codes = append(codes, string(c))
		}
	}
	sort.Strings(codes)
	return codes
}

// Routes are the registered paths, each once.
func Routes(cfg Config) ([]string, error) {
	s := &server{cfg: cfg}
	e, err := s.routes()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var paths []string
	for _, r := range e.Routes() {
		if !seen[r.Path] {
			seen[r.Path] = true
			paths = append(paths, strings.ReplaceAll(r.Path, ":provider", "{provider}"))
		}
	}
	sort.Strings(paths)
	return paths, nil
}
