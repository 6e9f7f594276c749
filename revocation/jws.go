package revocation

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	strictjson "github.com/go-jose/go-jose/v4/json"
)

// Errors of [ParseMessage]. Compare with errors.Is.
var (
	// ErrUnknownKey is returned if no feed key has the message's key id, which the error names.
	ErrUnknownKey = errors.New("unknown feed key")
	// ErrMalformed is returned if the message is not a compact JWS of this package's types, is too large
	// or has a value out of bounds.
	ErrMalformed = errors.New("malformed revocation message")
	// ErrSignature is returned if the signature is not by the key.
	ErrSignature = errors.New("bad signature on a revocation message")
)

const (
	maxHeaderBytes  = 512
	maxMessageBytes = (MaxBatchBytes+2)/3*4 + (maxHeaderBytes+2)/3*4 + 128
	maxBeatBytes64  = (MaxHeartbeatBytes*8 + 5) / 6
	maxKIDLength    = 128
	maxNameLength   = 64 // of an origin or a store
)

var strict = base64.RawURLEncoding.Strict()

type header struct {
	Alg string `json:"alg"`
	KID string `json:"kid"`
	Typ string `json:"typ"`
}

// Message is one verified [Batch] or [Heartbeat]; exactly one of the two is set.
type Message struct {
	KID       string
	Batch     *Batch
	Heartbeat *Heartbeat
	// Incomplete says that the message has another version, contains an event of an unknown kind, or
	// has heads that are not in the form of [Heartbeat].Heads. Its meaning is not fully known, so it counts
	// as a missing message. Events of an incomplete batch must not be applied; Heads of an incomplete
	// heartbeat are nil.
	Incomplete bool
}

// Origin returns the id of the sending process.
func (m Message) Origin() string {
	if m.Batch != nil {
		return m.Batch.Origin
	}
	return m.Heartbeat.Origin
}

// Store returns the id of the sender's store.
func (m Message) Store() string {
	if m.Batch != nil {
		return m.Batch.Store
	}
	return m.Heartbeat.Store
}

// ParseMessage verifies a compact JWS and decodes it. key returns the feed key of an id.
// It accepts only EdDSA and the two types of this package, and decodes the payload after it has
// verified the signature. Unknown members are ignored. For messages of later versions of the
// protocol, see [Message].
func ParseMessage(raw []byte, key func(kid string) (ed25519.PublicKey, bool)) (Message, error) {
	if len(raw) > maxMessageBytes {
		return Message{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(raw))
	}
	head64, rest, ok := bytes.Cut(raw, []byte{'.'})
	body64, sig64, ok2 := bytes.Cut(rest, []byte{'.'})
	if !ok || !ok2 || bytes.ContainsAny(raw, "\r\n") {
		return Message{}, fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	head, err := parseHeader(head64)
	if err != nil {
		return Message{}, err
	}
	if head.Typ == HeartbeatType && len(body64) > maxBeatBytes64 {
		return Message{}, fmt.Errorf("%w: a heartbeat of %d bytes", ErrMalformed, len(raw))
	}
	sig, err := decode64(sig64)
	if err != nil || len(sig) != ed25519.SignatureSize {
		return Message{}, fmt.Errorf("%w: signature", ErrMalformed)
	}
	public, ok := key(head.KID)
	if !ok {
		return Message{}, fmt.Errorf("%w: %q", ErrUnknownKey, head.KID)
	}
	if len(public) != ed25519.PublicKeySize || !ed25519.Verify(public, raw[:len(head64)+1+len(body64)], sig) {
		return Message{}, fmt.Errorf("%w: key %q", ErrSignature, head.KID)
	}
	body, err := decode64(body64)
	if err != nil || len(body) > MaxBatchBytes {
		return Message{}, fmt.Errorf("%w: payload", ErrMalformed)
	}
	m := Message{KID: head.KID}
	if head.Typ == BatchType {
		m.Batch, m.Incomplete, err = parseBatch(body)
	} else {
		m.Heartbeat, m.Incomplete, err = parseHeartbeat(body)
	}
	if err != nil {
		return Message{}, err
	}
	return m, nil
}

func parseHeader(encoded []byte) (header, error) {
	var head header
	if len(encoded) > strict.EncodedLen(maxHeaderBytes) {
		return head, fmt.Errorf("%w: header too long", ErrMalformed)
	}
	text, err := decode64(encoded)
	if err != nil {
		return head, fmt.Errorf("%w: header", ErrMalformed)
	}
	ok := false
	if head, ok = plainHeader(text); !ok {
		// crit and b64 (RFC 7515 §4.1.11, RFC 7797) would change what is signed: none is known here.
		var refused struct {
			Crit strictjson.RawMessage `json:"crit"`
			B64  strictjson.RawMessage `json:"b64"`
		}
		if strictjson.Unmarshal(text, &head) != nil || strictjson.Unmarshal(text, &refused) != nil ||
			refused.Crit != nil || refused.B64 != nil {
			return head, fmt.Errorf("%w: header", ErrMalformed)
		}
	}
	switch {
	case head.Alg != "EdDSA":
		return head, fmt.Errorf("%w: algorithm %.16q", ErrMalformed, head.Alg)
	case head.Typ != BatchType && head.Typ != HeartbeatType:
		return head, fmt.Errorf("%w: type %.32q", ErrMalformed, head.Typ)
	case head.KID == "" || len(head.KID) > maxKIDLength:
		return head, fmt.Errorf("%w: key id", ErrMalformed)
	}
	return head, nil
}

func parseBatch(body []byte) (*Batch, bool, error) {
	if b, ok := plainBatch(body); ok {
		return b.checked()
	}
	// The envelope is checked first: it must be valid in any version, the events need not.
	var envelope struct {
		V      int    `json:"v"`
		Store  string `json:"store"`
		Origin string `json:"origin"`
		Seq    uint64 `json:"seq"`
		At     int64  `json:"at"`
	}
	if err := strictjson.Unmarshal(body, &envelope); err != nil {
		return nil, false, fmt.Errorf("%w: batch", ErrMalformed)
	}
	b := Batch{V: envelope.V, Store: envelope.Store, Origin: envelope.Origin, Seq: envelope.Seq, At: envelope.At}
	if err := b.checkEnvelope(); err != nil {
		return nil, false, err
	}
	if envelope.V != Version {
		return &b, true, nil
	}
	var full Batch
	if err := strictjson.Unmarshal(body, &full); err != nil || len(full.Events) > MaxBatchEvents {
		return nil, false, fmt.Errorf("%w: batch", ErrMalformed)
	}
	return full.checked()
}

func (b *Batch) checkEnvelope() error {
	if !validName(b.Origin) || !validName(b.Store) || b.Seq < 1 || b.Seq > MaxSeq {
		return fmt.Errorf("%w: batch out of bounds", ErrMalformed)
	}
	return nil
}

// checked returns a batch of this version once it was checked, without its events if one is
// of an unknown kind: it is incomplete then.
func (b *Batch) checked() (_ *Batch, incomplete bool, err error) {
	if err := b.checkEnvelope(); err != nil {
		return nil, false, err
	}
	for _, e := range b.Events {
		if known, err := e.check(); err != nil {
			return nil, false, err
		} else if !known {
			return &Batch{V: b.V, Store: b.Store, Origin: b.Origin, Seq: b.Seq, At: b.At}, true, nil
		}
	}
	return b, false, nil
}

func parseHeartbeat(body []byte) (_ *Heartbeat, incomplete bool, err error) {
	type members Heartbeat
	var read struct {
		members
		Heads strictjson.RawMessage `json:"heads"`
	}
	if err := strictjson.Unmarshal(body, &read); err != nil {
		return nil, false, fmt.Errorf("%w: heartbeat", ErrMalformed)
	}
	h := Heartbeat(read.members)
	if !validName(h.Origin) || !validName(h.Store) || h.Head > MaxSeq || h.Up < 0 || h.Up > maxMillis ||
		h.AtMS < 0 || h.AtMS > maxMillis || h.TimeFloor < 0 || h.TimeFloor > maxMillis {
		return nil, false, fmt.Errorf("%w: heartbeat out of bounds", ErrMalformed)
	}
	if h.V != Version {
		return &h, true, nil
	}
	if read.Heads == nil {
		return &h, false, nil
	}
	heads, ok := parseHeads(string(read.Heads))
	if own, listed := heads[h.Origin]; !ok || !listed || own < h.Head {
		return &h, true, nil
	}
	h.Heads = heads
	return &h, false, nil
}

// parseHeads reads a heartbeat's heads. ok is false if they are out of bounds. The names share memory with
// text.
func parseHeads(text string) (heads map[string]uint64, ok bool) {
	if heads, ok = plainHeads(text); !ok {
		heads = nil
		if strictjson.Unmarshal([]byte(text), &heads) != nil || len(heads) > MaxOrigins {
			return nil, false
		}
	}
	for name, head := range heads {
		if !validName(name) || head > MaxSeq {
			return nil, false
		}
	}
	return heads, true
}

// validName bounds an origin or store id; an origin is a NATS subject token, so no dots,
// wildcards or spaces.
func validName(s string) bool {
	return s != "" && len(s) <= maxNameLength && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '.' || r == ',' || r == '*' || r == '>'
	})
}

func decode64(in []byte) ([]byte, error) {
	out := make([]byte, strict.DecodedLen(len(in)))
	n, err := strict.Decode(out, in)
	return out[:n], err
}
