package directory

import (
	"fmt"
	"slices"
	"strings"

	"tokenbroker/broker"
)

// id checks the client's id. The ids of the classes differ, so that no client can have that of another.
func (v *clientCheck) id(class broker.ClientClass) {
	id := v.client.ID
	_, isUID := broker.ParseID(id)
	switch {
	case class == broker.ClassDocument:
		if flaw := DocumentIDFlaw(id, true); flaw != "" {
			message, hint, _ := strings.Cut(flaw, ": ")
			v.problems.Add("", "has an id that cannot be the URL of a metadata document: it "+message, hint)
		}
	case !clientID.MatchString(id) || id == "." || id == "..":
		v.problems.Add("", "is not a client id", "letters, digits, dot, - and _")
	case len(id) > maxClientID:
		v.problems.Add("", fmt.Sprintf("is longer than %d characters", maxClientID), "choose a shorter client id")
	case isUID: // it is the sub of the client's own tokens
		v.problems.Add("", "has the form of a user's uid", "choose another client id")
	case IsRegisteredID(id) != (class == broker.ClassRegistered):
		v.problems.Add("", "has the form of the id of a client that registered itself", "choose another client id")
	}
}

// RegisteredPrefix is the start of the ids of clients that registered themselves.
const RegisteredPrefix = "registered-"

// NewRegisteredID returns a random id for a client that registered itself.
func NewRegisteredID() string { return RegisteredPrefix + broker.NewID().String() }

// IsRegisteredID reports whether id has the form of the id of a client that registered itself.
func IsRegisteredID(id string) bool {
	random, ok := strings.CutPrefix(id, RegisteredPrefix)
	_, valid := broker.ParseID(random)
	return ok && valid
}

// selfDescribed checks that a client that describes itself has nothing that only its class or an operator may give a client.
func (v *clientCheck) selfDescribed(class broker.ClientClass) {
	if class == broker.ClassKnown {
		return
	}
	c := v.client
	const hint = "add a client with another id for it"
	for _, s := range []struct {
		key string
		set bool
	}{
		{"first_party", c.FirstParty}, {"audiences", len(c.Audiences) > 0}, {"workloads", len(c.Workloads) > 0},
		{"access_token", c.AccessLife != 0}, {"session_idle", c.Idle != 0}, {"session_absolute", c.Absolute != 0}, {"refresh_grace", c.Grace != nil},
	} {
		if s.set {
			v.problems.Add(s.key, "is set, which a client that describes itself may not have", hint)
		}
	}
	if slices.ContainsFunc(c.Grants, func(grant string) bool {
		return grant != broker.GrantAuthorizationCode && grant != broker.GrantRefreshToken
	}) ||
		!slices.Contains(c.Grants, broker.GrantAuthorizationCode) {
		v.problems.Add("grants", "of a client that describes itself are authorization_code, and refresh_token or not", hint)
	}
}
