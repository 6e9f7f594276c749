package metrics

import (
	"errors"

	"tokenbroker/broker"
	"tokenbroker/revocation"
)

// other is the label of whatever is in no closed set.
const other = "other"

// closed is a closed set of label values.
type closed[T ~string] map[T]bool

func setOf[T ~string](values ...T) closed[T] {
	set := closed[T]{}
	for _, v := range values {
		set[v] = true
	}
	return set
}

func (c closed[T]) label(v T) string {
	if c[v] {
		return string(v)
	}
	return other
}

var (
	kinds = setOf(revocation.KindJTI, revocation.KindSID, revocation.KindSub, revocation.KindClient, revocation.KindKID, revocation.KindAll)

	reasons = setOf(revocation.ReasonLogoff, revocation.ReasonReuse, revocation.ReasonRollback, revocation.ReasonRevoked,
		revocation.ReasonUserDisabled, revocation.ReasonAllOthers, revocation.ReasonBackchannel, revocation.ReasonUpstream,
		revocation.ReasonKeyCompromise, revocation.ReasonRestore)

	// codes are those that sign-in, refresh and log-off answer with.
	codes = setOf(broker.CodeInvalidCredentials, broker.CodeTooManyAttempts, broker.CodeNoSession, broker.CodeCSRF,
		broker.CodeWrongChannel, broker.CodeSessionExpired, broker.CodeSessionEnded, broker.CodeSessionRevoked,
		broker.CodeRefreshReused, broker.CodeTooManyReplays, broker.CodeTooManySessions, broker.CodeGenerationAhead, broker.CodeUserDisabled, broker.CodeUnknownProvider,
		broker.CodeUpstreamUnavailable, broker.CodeUpstreamToken, broker.CodeUpstreamExpired, broker.CodeEmailNotVerified,
		broker.CodeProfileTooLarge, broker.CodeProfileInvalid,
		broker.CodeTokenUsed, broker.CodeLoginState, broker.CodeLoginUsed, broker.CodeProviderError, broker.CodeBusy,
		broker.CodeWritesRefused, broker.CodeUnavailable, broker.CodeClaimsFailed, broker.CodeInternal)
)

// result is the label of a use case's answer: ok or an error code.
func result(err error) string {
	var refusal *broker.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal):
		return codes.label(refusal.Code)
	default:
		return string(broker.CodeInternal)
	}
}
