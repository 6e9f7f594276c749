package api

import (
	"mime"
	"net/http"
	"strings"
)

// mediaType returns the media type of the request's body in small letters and the charset that
// it names; kind is empty if the request does not have one Content-Type that can be read.
func mediaType(h http.Header) (kind, charset string) {
	sent := h.Values("Content-Type")
	if len(sent) != 1 {
		return "", ""
	}
	kind, params, err := mime.ParseMediaType(sent[0])
	if err != nil {
		return "", ""
	}
	return kind, params["charset"]
}

// isUTF8 reports whether a text of that charset is UTF-8: by the name, in its usual spellings,
// or as ASCII. None is UTF-8.
func isUTF8(charset string) bool {
	switch strings.NewReplacer("-", "", "_", "", "'", "").Replace(strings.ToLower(charset)) {
	case "", "utf8", "ascii", "usascii":
		return true
	}
	return false
}
