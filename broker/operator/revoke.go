package operator

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"tokenbroker/broker"
	"tokenbroker/broker/commit"
	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

// Revoked is the answer to a revocation. The revocation is durable if there is no error.
type Revoked struct {
	Kind  string `json:"kind"` // of the event: sub, sid, jti, client or all
	Value string `json:"value"`
	Epoch int64  `json:"epoch,omitempty"`
	// Changed is false if the same revocation was made before. Nothing was written.
	Changed bool `json:"changed"`
	// Broadcast is false if the record is durable but its message was not sent yet.
	Broadcast bool `json:"broadcast"`
	// ReceiptSummary is nil if Request.Wait was zero.
	*broker.ReceiptSummary
}

// reasons are the valid codes of a revocation's reason (docs/design.md §7).
var reasons = []revocation.Reason{
	revocation.ReasonLogoff, revocation.ReasonReuse, revocation.ReasonRollback, revocation.ReasonRevoked,
	revocation.ReasonUserDisabled, revocation.ReasonAllOthers, revocation.ReasonBackchannel,
	revocation.ReasonUpstream, revocation.ReasonKeyCompromise, revocation.ReasonRestore,
}

// parseReason parses the code of a reason. An empty code is "revoked".
func parseReason(code string) (revocation.Reason, error) {
	if code == "" {
		return revocation.ReasonRevoked, nil
	}
	reason := revocation.Reason(code)
	if !slices.Contains(reasons, reason) {
		return "", &broker.Error{Code: broker.CodeInvalidRevocation, Message: "The reason is unknown; leave it out, or use a code that the API documents for revocations."}
	}
	return reason, nil
}

// RevokeUser ends the user's sessions and revokes the user's tokens. The user can sign in again.
// Errors: CodeUnknownUser, CodeInvalidRevocation.
func (svc *Service) RevokeUser(ctx context.Context, ref, reason string, req broker.Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	done, seq, err := svc.endUserByRef(ctx, ref, why, req)
	if err != nil {
		return Revoked{}, err
	}
	return delivered(ctx, delivery, done, seq), nil
}

// endUserByRef is RevokeUser without the delivery.
func (svc *Service) endUserByRef(ctx context.Context, ref string, reason revocation.Reason, req broker.Request) (Revoked, uint64, error) {
	user, err := svc.userByRef(ctx, ref)
	if err != nil {
		return Revoked{}, 0, commit.AppError(ctx, "revoking a user", err)
	}
	return svc.recordEnd(ctx, "user_revoke", user.UID, session.RevokeUser{Reason: reason}, req)
}

// SignOutEverybody raises the floor epoch, which ends every earlier session and token: in
// the broker when it returns, and in each service when the event arrives.
func (svc *Service) SignOutEverybody(ctx context.Context, reason revocation.Reason) error {
	epoch, _, err := svc.raiseFloor(ctx, reason, "")
	if err != nil {
		return fmt.Errorf("signing everybody out: %w", err)
	}
	svc.audit.Info(ctx, "sign_out_everybody", broker.Request{}, "reason", string(reason), "epoch", epoch)
	return nil
}

// RevokeEverybody is [Service.SignOutEverybody] at an operator's request. Errors: CodeInvalidRevocation.
func (svc *Service) RevokeEverybody(ctx context.Context, reason string, req broker.Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	epoch, seq, err := svc.raiseFloor(ctx, why, req.Operator)
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "revoking everybody's tokens", err)
	}
	svc.audit.Info(ctx, "everybody_revoke", req, "reason", string(why), "epoch", epoch)
	return delivered(ctx, delivery, Revoked{Kind: string(revocation.KindAll), Epoch: epoch, Changed: true}, seq), nil
}

func (svc *Service) raiseFloor(ctx context.Context, reason revocation.Reason, by string) (epoch int64, seq uint64, err error) {
	return svc.path.End(ctx, commit.Termination{Kind: revocation.KindAll, Reason: reason, By: by})
}

// maxRevokedValue bounds the value of a revocation, in bytes. The longest are the URLs of client metadata documents.
const maxRevokedValue = 512

// ValidateRevocation checks the form of a value to be revoked, before anything is looked
// up: a jti or sid in another form than that of tokens could never match one.
func ValidateRevocation(kind revocation.Kind, value string) error {
	problem := ""
	switch kind {
	case revocation.KindAll:
		if value != "" {
			problem = "The kind all has no value; leave the value out."
		}
	case revocation.KindJTI:
		if id, err := uuid.Parse(value); err != nil || id.String() != value {
			problem = "The value is not a jti: write the UUID in lower case, as in the token's claim jti."
		}
	case revocation.KindSID:
		if _, ok := broker.ParseID(value); !ok {
			problem = "The value is not a sid: write the 26 characters (a to z, 2 to 7) of the token's claim sid."
		}
	case revocation.KindSub, revocation.KindClient:
		if kind == revocation.KindSub { // a user name, as at a sign-in
			value = strings.TrimSpace(value)
		}
		if name := referenceProblem(value, maxRevokedValue); name != "" {
			problem = "The value " + name + "."
		}
	default:
		problem = "The kind is unknown; it must be sub, sid, jti, client or all."
	}
	if problem != "" {
		return &broker.Error{Code: broker.CodeInvalidRevocation, Message: problem}
	}
	return nil
}

// RevokeToken revokes one access token by its jti. Its session continues. The broker does not know whether there is
// such a token, so that the event lives until every token signed so far has
// expired. If the token was revoked before, Changed is false. Errors: CodeInvalidRevocation.
func (svc *Service) RevokeToken(ctx context.Context, jti, reason string, req broker.Request) (Revoked, error) {
	why, err := parseReason(reason)
	if err != nil {
		return Revoked{}, err
	}
	if err := ValidateRevocation(revocation.KindJTI, jti); err != nil {
		return Revoked{}, err
	}
	delivery := svc.path.ExpectDelivery(ctx, req.Wait)
	defer delivery.Close()
	changed, seq, err := svc.path.RevokeTokens(ctx, []string{jti}, why, req.Operator)
	if err != nil {
		return Revoked{}, commit.AppError(ctx, "revoking a token", err)
	}
	svc.audit.Info(ctx, "token_revoke", req, "jti", jti, "reason", string(why), "changed", changed > 0)
	return delivered(ctx, delivery, Revoked{Kind: string(revocation.KindJTI), Value: jti, Changed: changed > 0}, seq), nil
}
