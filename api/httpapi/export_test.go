package httpapi

import (
	"slices"

	"tokenbroker/broker"
)

// adminOnly are the codes that only the operators' handler answers with.
var adminOnly = map[broker.Code]bool{
	CodeUnknownHost: true, CodeUnauthorized: true, CodeInvalidParameter: true,
	broker.CodeUserExists: true, broker.CodeUnknownUser: true, broker.CodeUnknownSession: true,
	broker.CodeUnknownClient: true, broker.CodeUnknownKey: true, CodeInvalidRotation: true, CodeInvalidKEK: true,
	broker.CodeInvalidUser: true, broker.CodeInvalidClientConfig: true, broker.CodeClientExists: true, broker.CodeInvalidRevocation: true,
}

// AdminCodes returns the codes that only the operators' handler answers with.
func AdminCodes() []string {
	var codes []string
	for c := range adminOnly {
		codes = append(codes, string(c))
	}
	return codes
}

// PublicCodes returns the codes that the public listener can answer with, sorted.
func PublicCodes() []string {
	var codes []string
	for c := range kinds {
		if !adminOnly[c] && c != CodeClientClosed {
			codes = append(codes, string(c))
		}
	}
	slices.Sort(codes)
	return codes
}

// CodeStatuses returns all codes with their HTTP statuses.
func CodeStatuses() map[string]int {
	statuses := make(map[string]int, len(kinds))
	for code, k := range kinds {
		statuses[string(code)] = k.status
	}
	return statuses
}
