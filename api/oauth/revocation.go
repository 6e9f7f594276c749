package oauth

import (
	"net/http"

	"tokenbroker/api/httpapi"
)

// revoke is POST /oauth2/revoke (RFC 7009). The answer for a token that is unknown, or that ended before, is the same as for one
// that was revoked (§2.2).
func (h *Handler) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := credentialsOf(r, form)
	if err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return invalidRequest("token is missing or empty")
	}
	client, err := h.cfg.Clients.Revoke(r.Context(), c, token, form.Get("token_type_hint"), httpapi.BrokerRequest(r))
	if err != nil {
		return err
	}
	h.letRead(w, r, client)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}
