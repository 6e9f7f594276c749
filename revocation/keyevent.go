package revocation

// KeysSubject is where a broker tells of its keys (the origin follows), and KeysType the JWS
// type of what it says there.
const (
	KeysSubject = "tokenbroker.keys."
	KeysType    = "keys+jws"
)

// KeyEvent tells people that something happened to a key: the payload of a compact JWS of
// type [KeysType], signed with the feed key of that moment. It is for information alone:
// services learn of keys by the JWK sets and of compromised ones by [KindKID] events and
// catch-ups, and [ParseMessage] refuses it. It may be lost, and is not sent again.
type KeyEvent struct {
	V      int    `json:"v"`
	Store  string `json:"store"`
	Origin string `json:"origin"`
	At     int64  `json:"at"` // Unix s, by the broker's clock
	// What happened: key_made, key_scheduled, key_activated, key_retiring, key_retired,
	// key_compromised, master_rotated, master_dropped or keyring_resealed.
	What string `json:"what"`
	// The key afterwards; missing where it is about none.
	KID       string `json:"kid,omitempty"`
	Purpose   string `json:"purpose,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	State     string `json:"state,omitempty"`
}
