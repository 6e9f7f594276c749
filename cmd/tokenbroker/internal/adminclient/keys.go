package adminclient

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"tokenbroker/api/admin"
	"tokenbroker/broker/operator"
	"tokenbroker/keyring/lifecycle"
	"tokenbroker/revocation"
)

const keysPath = "/admin/v1/keys"

// KeyRotation names the key to rotate. The server's default is the access key.
type KeyRotation struct {
	Purpose   string `json:"purpose,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	Note      string `json:"note,omitempty"`
}

// ListKeys returns the states of all keys, without key material.
func (c *Client) ListKeys(ctx context.Context) (admin.KeyList, error) {
	return ask[admin.KeyList](ctx, c, http.MethodGet, keysPath, nil, nil)
}

// RotateKey makes the next key sign as soon as services know it. It is safe to call it again.
func (c *Client) RotateKey(ctx context.Context, r KeyRotation) (lifecycle.Rotation, error) {
	return ask[lifecycle.Rotation](ctx, c, http.MethodPost, keysPath+"/rotate", nil, r)
}

// RevokeKey marks a key as compromised permanently. It is safe to call it again. The server's default for the
// reason is key_compromise.
func (c *Client) RevokeKey(ctx context.Context, kid string, reason revocation.Reason, note string) (operator.KeyRevoked, error) {
	return ask[operator.KeyRevoked](ctx, c, http.MethodPost, keysPath+"/"+url.PathEscape(kid)+"/revoke", nil, struct {
		Reason revocation.Reason `json:"reason,omitempty"`
		Note   string            `json:"note,omitempty"`
	}{reason, note})
}

// ResealKeys seals the keyring under the KEK in kekFile, a path on the server's machine, or, if it is "", under
// a new KEK in the server's own file.
func (c *Client) ResealKeys(ctx context.Context, kekFile, note string) (admin.KeysResealed, error) {
	return ask[admin.KeysResealed](ctx, c, http.MethodPost, keysPath+"/reseal", nil, struct {
		KEKFile string `json:"kek_file,omitempty"`
		Note    string `json:"note,omitempty"`
	}{kekFile, note})
}

// ExportKeys returns the JWK set of a purpose, as services receive it.
func (c *Client) ExportKeys(ctx context.Context, purpose string) (json.RawMessage, error) {
	query := url.Values{}
	set(query, "purpose", purpose)
	return ask[json.RawMessage](ctx, c, http.MethodGet, keysPath+"/jwks", query, nil)
}
