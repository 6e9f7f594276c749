package api

import (
	"sort"
	"strings"

	"tokenbroker/broker"
)

// adminOnly are the codes that the operators' handler alone answers with.
var adminOnly = map[broker.Code]bool{
	CodeUnknownHost: true, CodeUnauthorized: true, CodeInvalidParameter: true,
	broker.CodeUserExists: true, broker.CodeUnknownUser: true, broker.CodeUnknownSession: true,
	broker.CodeUnknownClient: true, broker.CodeUnknownKey: true, CodeInvalidRotation: true, CodeInvalidKEK: true,
	broker.CodeInvalidUser: true, broker.CodeInvalidRevocation: true,
}

// AdminCodes are the codes that the operators' handler alone answers with.
func AdminCodes() []string {
	var codes []string
	for c := range adminOnly {
		codes = append(codes, string(c))
	}
	return codes
}

// AdminRoutes are the registered methods and paths of the operators' handler.
func AdminRoutes(cfg AdminConfig) []string {
	var all []string
	for _, route := range (&admin{cfg: cfg}).routes() {
		for method := range route.methods {
			all = append(all, method+" "+route.pattern)
		}
	}
	sort.Strings(all)
	return all
}

// PublicCodes are the codes that the public listener can answer with.
func PublicCodes() []string {
	var codes []string
	for c := range kinds {
		if !adminOnly[c] && c != CodeClientClosed {
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

// CodeStatuses are all codes with their HTTP statuses.
func CodeStatuses() map[string]int {
	statuses := make(map[string]int, len(kinds))
	for code, k := range kinds {
		statuses[string(code)] = k.status
	}
	return statuses
}
