package admin

import (
	"context"
	"net/http"
	"time"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/keyring/lifecycle"
)

// Keys is the keyring as operators handle it. Errors are [*broker.Error] where the caller
// may know the reason. When a call returns, its result is durable. RevokeKey is a method of [Operators].
type Keys interface {
	ListKeys(ctx context.Context) (KeyList, error)
	// RotateKey makes the next key of a purpose sign as soon as services know it. A second call
	// before that is the same rotation.
	RotateKey(ctx context.Context, rotation KeyRotation, req broker.Request) (lifecycle.Rotation, error)
	// ResealKeys seals all private keys under another KEK: the one in kekFile, a path on the
	// server's machine, or, if it is empty, a new one in the server's own file.
	ResealKeys(ctx context.Context, kekFile string, req broker.Request) (KeysResealed, error)
}

// KeyList is the keyring. Keys is not nil.
type KeyList struct {
	Now  time.Time           `json:"now"` // by the broker's clock
	Keys []lifecycle.KeyInfo `json:"keys"`
	// RotateEvery is the schedule, as "720h0m0s". If missing, keys are rotated only by hand.
	RotateEvery string `json:"rotate_every,omitempty"`
	// Overdue is set while a rotation that is due fails; the old key continues to sign.
	Overdue *KeyOverdue `json:"overdue,omitempty"`
}

// KeyOverdue describes a rotation that fails. The log has the cause.
type KeyOverdue struct {
	Purposes []string  `json:"purposes"`
	Since    time.Time `json:"since"`
	// OldKeyUntil is the end of the old key's validity.
	OldKeyUntil time.Time `json:"old_key_until,omitzero"`
}

// KeyRotation is the rotation that an operator requests.
type KeyRotation struct {
	Purpose string // access, feed or master
	// Algorithm is that of the next key. If empty, it stays as it is.
	Algorithm string
}

// KeysResealed is the answer to ResealKeys.
type KeysResealed struct {
	// KEKFile is the file of the KEK that opens the keyring from now on.
	KEKFile string `json:"kek_file"`
	// Todo is the change that an operator must make before the next start. It is missing if none is needed.
	Todo string `json:"todo,omitempty"`
}

func (a *handler) keyRoutes() []route {
	return []route{
		get("/admin/v1/keys", a.listKeys), get("/admin/v1/keys/jwks", a.exportKeys),
		post("/admin/v1/keys/rotate", a.rotateKey), post("/admin/v1/keys/reseal", a.resealKeys),
		post("/admin/v1/keys/{kid}/revoke", a.revokeKey),
	}
}

// listKeys is GET /admin/v1/keys.
func (a *handler) listKeys(w http.ResponseWriter, r *http.Request) error {
	list, err := a.cfg.Keys.ListKeys(r.Context())
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, list)
}

// exportKeys is GET /admin/v1/keys/jwks?purpose=access|feed: the document that services get.
func (a *handler) exportKeys(w http.ResponseWriter, r *http.Request) error {
	q, err := readListQuery(r)
	if err != nil {
		return err
	}
	document := a.cfg.JWKS
	switch q.values.Get("purpose") {
	case "", "access":
	case "feed":
		document = a.cfg.FeedJWKS
	default:
		return httpapi.InvalidParameter("purpose must be access or feed")
	}
	body, _, _ := document()
	httpapi.WriteBody(w, http.StatusOK, "application/json", body)
	return nil
}

// rotateKey is POST /admin/v1/keys/rotate {purpose?, algorithm?, note?}.
func (a *handler) rotateKey(w http.ResponseWriter, r *http.Request) error {
	rotation := KeyRotation{Purpose: "access"}
	var note string
	err := readJSON(w, r, httpapi.Optional("purpose", &rotation.Purpose), httpapi.Optional("algorithm", &rotation.Algorithm),
		httpapi.Optional("note", &note))
	if err != nil {
		return err
	}
	if problem := rotation.problem(); problem != "" {
		return &broker.Error{Code: httpapi.CodeInvalidRotation, Message: problem}
	}
	rotated, err := a.cfg.Keys.RotateKey(r.Context(), rotation, operatorRequest(r, note))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, rotated)
}

// problem returns the reason why the rotation is impossible, or "".
func (r KeyRotation) problem() string {
	switch r.Purpose {
	case "access":
	case "feed":
		if r.Algorithm != "" && r.Algorithm != "EdDSA" {
			return "feed keys are always EdDSA; leave algorithm out"
		}
	case "master":
		if r.Algorithm != "" {
			return "the master secret has no algorithm; leave algorithm out"
		}
	default:
		return "purpose must be access, feed or master"
	}
	switch r.Algorithm {
	case "", "ES256", "EdDSA", "RS256", "PS256":
		return ""
	}
	return "algorithm must be ES256, EdDSA, RS256 or PS256"
}

// revokeKey is POST /admin/v1/keys/{kid}/revoke?wait= {reason?, note?}.
func (a *handler) revokeKey(w http.ResponseWriter, r *http.Request) error {
	var reason, note string
	if err := readJSON(w, r, httpapi.Optional("reason", &reason), httpapi.Optional("note", &note)); err != nil {
		return err
	}
	req, err := revokingRequest(r, note)
	if err != nil {
		return err
	}
	revoked, err := a.cfg.Operators.RevokeKey(r.Context(), r.PathValue("kid"), reason, req)
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked.Broadcast, revoked)
}

// resealKeys is POST /admin/v1/keys/reseal {kek_file?, note?}. The KEK itself never travels.
func (a *handler) resealKeys(w http.ResponseWriter, r *http.Request) error {
	var kekFile, note string
	if err := readJSON(w, r, httpapi.Optional("kek_file", &kekFile), httpapi.Optional("note", &note)); err != nil {
		return err
	}
	resealed, err := a.cfg.Keys.ResealKeys(r.Context(), kekFile, operatorRequest(r, note))
	if err != nil {
		return err
	}
	return httpapi.WriteJSON(w, http.StatusOK, resealed)
}
