package directory

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// secretKeyMembers are the members of private and symmetric keys (RFC 7518 §6).
var secretKeyMembers = []string{"d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"}

// keys checks the keys of private_key_jwt.
func (v *clientCheck) keys() {
	if v.client.JWKSURI != "" {
		if len(v.client.JWKS) > 0 {
			v.problems.Add("jwks_uri", "is set together with the keys themselves", "keep one of both")
		}
		v.list("jwks_uri", []string{v.client.JWKSURI}, webFlaw)
	}
	if len(v.client.JWKS) == 0 {
		return
	}
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	switch err := json.Unmarshal(v.client.JWKS, &set); {
	case err != nil || len(set.Keys) == 0:
		v.problems.Add("jwks", "is not a key set", `a JSON object with the public keys in "keys" (RFC 7517 §5)`)
		return
	case len(set.Keys) > maxClientKeys:
		v.problems.Add("jwks", fmt.Sprintf("has %d keys, more than %d", len(set.Keys), maxClientKeys), "")
	}
	for _, key := range set.Keys {
		if kind, _ := key["kty"].(string); kind == "oct" || slices.ContainsFunc(secretKeyMembers, func(name string) bool { return key[name] != nil }) {
			v.problems.Add("jwks", "has a private or symmetric key", "give the broker only the public keys, and replace this one: it is no longer secret")
			return
		}
	}
}

// webFlaw returns the rule that the URL of a document breaks, or "".
func webFlaw(text string) string {
	u, flaw := parseURI(text)
	if flaw == "" {
		flaw = webURLFlaw(u)
	}
	return flaw
}

func (v *clientCheck) workloads() {
	if n := len(v.client.Workloads); n > maxWorkloads {
		v.problems.Add("workloads", fmt.Sprintf("has %d items, more than %d", n, maxWorkloads), "")
		return
	}
	for i, w := range v.client.Workloads {
		key := fmt.Sprintf("workloads[%d]", i)
		for _, part := range []struct{ name, text string }{{"issuer", w.Issuer}, {"subject", w.Subject}, {"audience", w.Audience}} {
			switch {
			case part.text == "":
				v.problems.Add(key, "has no "+part.name, "a workload needs issuer, subject and audience, which are compared exactly")
			case textProblem(part.text, maxWorkloadText) != "":
				v.problems.Add(key, part.name+" "+textProblem(part.text, maxWorkloadText), "")
			case strings.Contains(part.text, "*"):
				v.problems.Add(key, part.name+" has a wildcard", "issuer, subject and audience are compared exactly: list each workload")
			}
		}
		// Without jwks_uri, the issuer is the URL at which the keys are found.
		url := w.JWKSURI
		if url == "" {
			url = w.Issuer
		}
		if flaw := webFlaw(url); flaw != "" && url != "" {
			message, hint, _ := strings.Cut(flaw, ": ")
			v.problems.Add(key, v.quoted(url)+" "+message, hint)
		}
	}
}
