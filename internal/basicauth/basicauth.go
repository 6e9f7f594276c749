// Package basicauth reads the credentials of an OAuth client that authenticates by Basic.
package basicauth

import (
	"net/http"
	"net/url"
)

// Read returns the id and the possible secrets of a client from the one Authorization header
// (RFC 7617); false if there is none, or another one. RFC 6749 §2.3.1 wants both form-encoded; curl,
// nginx and many libraries send them as they are. An id consists of characters that the encoding
// does not change, so that it can always be decoded. A secret can be meant either way: Read
// returns it as it is and, where that differs, decoded.
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
