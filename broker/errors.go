package broker

import "time"

// Code is a stable error code. It is part of the API and is never renamed.
type Code string

// The codes of the use cases.
const (
	CodeInvalidCredentials  Code = "invalid_credentials"
	CodeTooManyAttempts     Code = "too_many_attempts"
	CodeNoSession           Code = "no_session"
	CodeCSRF                Code = "csrf_mismatch"
	CodeWrongChannel        Code = "wrong_channel"
	CodeSessionExpired      Code = "session_expired"
	CodeSessionEnded        Code = "session_ended"
	CodeSessionRevoked      Code = "session_revoked"
	CodeRefreshReused       Code = "refresh_token_reused"
	CodeRefreshSuperseded   Code = "refresh_token_superseded"
	CodeTooManyReplays      Code = "too_many_replays"
	CodeTooManySessions     Code = "too_many_sessions"
	CodeGenerationAhead     Code = "generation_ahead"
	CodeUserDisabled        Code = "user_disabled"
	CodeInvalidClient       Code = "invalid_client"
	CodeUnknownProvider     Code = "unknown_provider"
	CodeUpstreamUnavailable Code = "upstream_unavailable"
	CodeUpstreamToken       Code = "upstream_token_invalid"
	CodeUpstreamExpired     Code = "upstream_token_expired"
	CodeEmailNotVerified    Code = "email_not_verified"
	CodeProfileTooLarge     Code = "profile_too_large"
	CodeProfileInvalid      Code = "profile_invalid"
	CodeTokenUsed           Code = "token_already_used"
	CodeExchangeDisabled    Code = "exchange_disabled"
	CodeIDTokenUnproven     Code = "id_token_unproven"
	CodeNonceInvalid        Code = "exchange_nonce_invalid"
	CodeNonceExpired        Code = "exchange_nonce_expired"
	CodeNonceUsed           Code = "exchange_nonce_used"
	CodeLoginState          Code = "login_state_invalid"
	CodeLoginUsed           Code = "login_already_used"
	CodeProviderError       Code = "provider_error"
	CodeUserExists          Code = "user_exists"
	CodeUnknownUser         Code = "unknown_user"
	CodeUnknownSession      Code = "unknown_session"
	CodeUnknownClient       Code = "unknown_client"
	CodeUnknownKey          Code = "unknown_key"
	CodeInvalidUser         Code = "invalid_user"
	CodeInvalidRevocation   Code = "invalid_revocation"
	CodeBusy                Code = "busy"
	CodeWritesRefused       Code = "writes_refused"
	CodeUnavailable         Code = "unavailable"
	CodeClaimsFailed        Code = "claims_failed"
	CodeInternal            Code = "internal"
)

// Error is the refusal of a use case: a code and a message that is
// safe to show. All other errors are internal and only logged.
type Error struct {
	Code    Code
	Message string
	// RetryAfter is set with the codes of the statuses 429 and 503.
	RetryAfter time.Duration
	// Err is the cause, only for the log.
	Err error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return string(e.Code) + ": " + e.Message + ": " + e.Err.Error()
	}
	return string(e.Code) + ": " + e.Message
}

// Unwrap returns the internal cause.
func (e *Error) Unwrap() error { return e.Err }
