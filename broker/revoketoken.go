package broker

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/google/uuid"

	"tokenbroker/revocation"
	"tokenbroker/store"
)

// maxRevokedValue bounds, in bytes, what an operator names to be revoked.
const maxRevokedValue = 256

// ValidateRevocation says what is wrong with a value to be revoked, before anything is looked
// up: a jti or sid that is not in the form that tokens carry could never hit one.
func ValidateRevocation(kind revocation.Kind, value string) error {
	problem := ""
	switch kind {
	case revocation.KindAll:
		if value != "" {
			problem = "The kind all takes no value."
		}
	case revocation.KindJTI:
		if id, err := uuid.Parse(value); err != nil || id.String() != value {
			problem = "A jti is a UUID in lower case, as the token's claim has it."
		}
	case revocation.KindSID:
		if _, ok := parseID(value); !ok {
			problem = "A sid is 26 characters of a to z and 2 to 7."
		}
	case revocation.KindSub, revocation.KindClient:
		if kind == revocation.KindSub { // a user name, as at a sign-in
			value = strings.TrimSpace(value)
		}
		if name := referenceProblem(value, maxRevokedValue); name != "" {
			problem = "The value " + name + "."
		}
	default:
		problem = "The kind is none that can be revoked."
	}
	if problem != "" {
		return &Error{Code: CodeInvalidRevocation, Message: problem}
	}
	return nil
}

// RevokeToken revokes one access token by its jti; its session lives on. Whether there is
// such a token is not known, so that the event lives until every token signed so far has
// expired. One that was revoked before is Changed=false. Errors: CodeInvalidRevocation.
func (b *Broker) RevokeToken(ctx context.Context, jti, reason string, req Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	if err := ValidateRevocation(revocation.KindJTI, jti); err != nil {
		return Revoked{}, err
	}
	tell := b.telling(ctx, req)
	defer tell.done()
	changed, seq, err := b.revokeTokens(ctx, []string{jti}, why, req.Operator)
	if err != nil {
		return Revoked{}, b.internal(ctx, "revoking a token", err)
	}
	b.audit(ctx, "token_revoke", req, "jti", jti, "reason", string(why), "changed", changed > 0)
	return tell.revoked(ctx, Revoked{Kind: string(revocation.KindJTI), Value: jti, Changed: changed > 0}, seq), nil
}

// revokeTokens records an event for each jti that is not revoked yet, as one change, and
// returns their number. A repeated jti counts once.
func (b *Broker) revokeTokens(ctx context.Context, jtis []string, reason revocation.Reason, by string) (changed int, seq uint64, err error) {
	floor, _, err := readFloor(ctx, b.cfg.Store)
	if err != nil {
		return 0, 0, err
	}
	now := b.cfg.Clock.Now()
	expires := lastExpiry(floor, now, b.cfg.Policy.AccessLife)
	events := make([]revocation.Event, 0, len(jtis))
	seen := make(map[string]bool, len(jtis))
	for _, jti := range jtis {
		// What the denylist has is on disk and lives as long as the token: no jti is known
		// before its token is signed. The epochs keep everything but the jti out of the question.
		if seen[jti] || b.cfg.Denylist.Revoked(revocation.Subject{JTI: jti, SEP: math.MaxInt64, CEP: math.MaxInt64}) {
			continue
		}
		seen[jti] = true
		events = append(events, revocation.Event{
			Kind: revocation.KindJTI, Value: jti, At: now.Unix(), ExpiresAt: expires, Reason: reason, By: by,
		})
	}
	if len(events) == 0 {
		return 0, 0, nil
	}
	result, err := b.committer.Ask(ctx, commitRequest{changes: []change{{Change: store.Change{Events: events}}}})
	if err != nil {
		return 0, 0, fmt.Errorf("committing: %w", err)
	}
	return len(events), result.seq, result.errs[0]
}
