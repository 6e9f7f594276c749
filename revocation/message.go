package revocation

// Version is the version of the wire forms in this package.
const Version = 1

// Speaks is the version of the protocol that this package speaks, see [Receipt]. A service that speaks 2
// can follow several brokers that share a store, because it understands [Heartbeat].Heads.
const Speaks = 2

// Limits of the wire forms.
const (
	MaxBatchEvents = 2000
	MaxBatchBytes  = 512 << 10
	// MaxHeartbeatBytes is the maximum length of a heartbeat's JSON.
	MaxHeartbeatBytes = 128 << 10
	// MaxOrigins is the maximum number of origins of a store, live and ended, in a heartbeat or an answer.
	MaxOrigins = 1024
	MaxSeq     = 1<<53 - 1
)

// Subjects and JWS types of the signed messages (the origin follows the subject prefix).
const (
	BatchSubject     = "tokenbroker.revocation."
	HeartbeatSubject = "tokenbroker.heartbeat."
	BatchType        = "revocations+jws"
	HeartbeatType    = "heartbeat+jws"
)

// Batch has the events of one commit of one origin. Seq starts at 1 and has no gaps.
type Batch struct {
	V      int     `json:"v"`
	Store  string  `json:"store"`
	Origin string  `json:"origin"`
	Seq    uint64  `json:"seq"`
	At     int64   `json:"at"`
	Events []Event `json:"events"`
	Ack    bool    `json:"ack,omitempty"`
}

// Heartbeat reports each second how far the origins of a store are. The origin that sends it is its
// speaker.
type Heartbeat struct {
	V      int    `json:"v"`
	Store  string `json:"store"`
	Origin string `json:"origin"`
	// Head is the sequence number of the sender's last committed batch.
	Head uint64 `json:"head"`
	// Up is the number of milliseconds since the process started, by its monotonic clock, read
	// before Head and Heads.
	Up int64 `json:"up"`
	// AtMS is the broker's clock (Unix ms) and TimeFloor (Unix s) its lowest reading.
	AtMS      int64 `json:"at_ms"`
	TimeFloor int64 `json:"time_floor"`
	// JWKS is the ETag of the token JWKS.
	JWKS string `json:"jwks"`
	// Heads has the head of each origin of the store, live and ended, at most [MaxOrigins]. They are read
	// from the store after Up, and the sender's is at least Head. If nil, the broker is older than
	// version 2 of the protocol, and its own origin is the only one.
	Heads map[string]uint64 `json:"heads,omitempty"`
}

// OriginHead is one origin of an [Answer] and its last committed batch.
type OriginHead struct {
	Origin string `json:"origin"`
	Head   uint64 `json:"head"`
}

// Answer is the catch-up answer of GET /revocations.
type Answer struct {
	V         int          `json:"v"`
	Store     string       `json:"store"`
	Origin    string       `json:"origin"`
	Up        int64        `json:"up"`
	AtMS      int64        `json:"at_ms"`
	TimeFloor int64        `json:"time_floor"`
	Full      bool         `json:"full"`
	Origins   []OriginHead `json:"origins"`
	// Kids are the compromised key ids, which are never valid again.
	Kids   []string `json:"kids"`
	Events []Event  `json:"events"`
}

// KeysSubject is the prefix of the subject under which a broker reports changes of its keys (the
// origin follows it), and KeysType is the JWS type of these messages.
const (
	KeysSubject = "tokenbroker.keys."
	KeysType    = "keys+jws"
)

// KeyEvent reports to operators that something happened to a key: the payload of a compact JWS of
// type [KeysType], signed with the feed key of that moment. It is only for information:
// services learn of keys by the JWK sets and of compromised ones by [KindKID] events and
// catch-ups, and [ParseMessage] refuses it. It may be lost, and is not sent again.
type KeyEvent struct {
	V      int    `json:"v"`
	Store  string `json:"store"`
	Origin string `json:"origin"`
	At     int64  `json:"at"` // Unix s, by the broker's clock
	// What is one of key_made, key_scheduled, key_activated, key_retiring, key_retired,
	// key_compromised, master_rotated, master_dropped and keyring_resealed.
	What string `json:"what"`
	// KID, Purpose, Algorithm and State describe the key after the change. They are empty if the
	// event is not about one key.
	KID       string `json:"kid,omitempty"`
	Purpose   string `json:"purpose,omitempty"`
	Algorithm string `json:"algorithm,omitempty"`
	State     string `json:"state,omitempty"`
}
