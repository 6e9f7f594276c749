// Package basicauth reads the credentials of an OAuth client that uses HTTP Basic authentication.
package basicauth

import (
	"net/http"
	"net/url"
)

// Read returns the id and the possible secrets of a client from the Authorization header
// (RFC 7617). ok is false unless there is exactly one such header and it has Basic credentials with an
// id. RFC 6749 §2.3.1 requires both values to be form-encoded, but curl,
// nginx and many libraries send them unencoded. An id consists of characters that the encoding
// does not change, so Read always decodes it. A secret is ambiguous: Read
// returns it as it was sent and, if that differs, also decoded.
func Read(r *http.Request) (id string, secrets []string, ok bool) {
	id, secret, ok := r.BasicAuth()
	if len(r.Header.Values("Authorization")) != 1 || !ok || id == "" {
		return "", nil, false
	}
	if decoded, err := url.QueryUnescape(id); err == nil {
		id = decoded
	}
	secrets = []string{secret}
	if decoded, err := url.QueryUnescape(secret); err == nil && decoded != secret {
		secrets = append(secrets, decoded)
	}
	return id, secrets, true
}
