package api

import (
	"net/http"
	"strings"

	"tokenbroker/broker"
)

// words returns the title and the sentence of the page about a refusal. Where the refusal's own
// message is for the developer of the client, the page says instead what its reader can do.
func words(e *broker.Error) page {
	switch e.Code {
	case CodeNotFound, broker.CodeUnknownUser, broker.CodeUnknownSession, broker.CodeUnknownClient, broker.CodeUnknownKey:
		return page{Title: "There is no such page", Text: "The address is mistyped, or the page has moved."}
	case broker.CodeUnknownProvider:
		return page{Title: "This way to sign in is not available", Text: "The link names a sign-in provider that is not set up here. Go back to the application and sign in from there."}
	case CodeInvalidReturn, CodeRepeatedParameter, CodeInvalidParameter:
		return page{Title: "This link does not work", Text: "It was not made for this sign-in service, or is damaged. Go back to the application and sign in from there."}
	case broker.CodeLoginState, broker.CodeLoginUsed, CodeDuplicateCookie:
		return page{Title: "This sign-in cannot be completed", Text: "It was started in another browser or too long ago, or is completed already. Go back to the application and sign in again."}
	case broker.CodeUpstreamUnavailable:
		return page{Title: "The sign-in provider does not answer", Text: "Try again in a few minutes."}
	case CodeMethodNotAllowed, CodeUnsupportedMediaType, CodeUnauthorized, CodeForbiddenOrigin:
		return page{Title: "This address is not for browsers", Text: "Applications use it. Go back to the application and sign in from there."}
	case CodeNotReady:
		return page{Title: "The sign-in service is not ready", Text: e.Message}
	case broker.CodeInternal, broker.CodeClaimsFailed:
		return page{Title: "Something went wrong", Text: "Try again. If it happens again, give support the line below."}
	}
	switch kinds[e.Code].status {
	case http.StatusTooManyRequests:
		return page{Title: "Too many attempts", Text: "Wait a moment and try again."}
	case http.StatusServiceUnavailable:
		return page{Title: "The sign-in service is busy", Text: "Try again in a moment."}
	}
	return page{Title: kinds[e.Code].title, Text: sentence(e.Message)}
}

// sentence begins a message with a capital letter and ends it with a full stop.
func sentence(message string) string {
	if message == "" {
		return "Go back to the application and sign in again."
	}
	if c := message[0]; c >= 'a' && c <= 'z' {
		message = string(c-'a'+'A') + message[1:]
	}
	return strings.TrimSuffix(message, ".") + "."
}
