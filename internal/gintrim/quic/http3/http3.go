// Package http3 takes the place of github.com/quic-go/quic-go/http3: it has what gin refers to
// and serves nothing. See docs/decisions/0021.
package http3

import (
	"errors"
	"net/http"
)

// ListenAndServeQUIC always returns an error.
func ListenAndServeQUIC(string, string, string, http.Handler) error {
	return errors.New("HTTP/3 is not compiled into this program")
}
