package pages

import (
	"net/http"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/look"
)

// logo serves an image of the operator's. Its own policy keeps an SVG that is opened as a page from running anything.
func logo(image look.Image) httpapi.Endpoint {
	return func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "public, max-age=3600")
		httpapi.WriteBody(w, http.StatusOK, image.ContentType, image.Body)
		return nil
	}
}
