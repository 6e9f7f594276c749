package revocation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	strictjson "github.com/go-jose/go-jose/v4/json"
)

// ReceiptSubject is the prefix of the subject of a receipt. The id of the service follows it.
const ReceiptSubject = "tokenbroker.receipt."

// PostedSubject is the prefix of the subject on which a broker passes receipts that services posted to it over HTTP to the
// other brokers of the store. The broker's origin follows it.
const PostedSubject = "tokenbroker.posted."

// Limits of a [Receipt].
const (
	MaxReceiptBytes   = 4 << 10
	MaxReceiptOrigins = 64
	// MaxSpeaks is the highest version of the protocol that a service may state.
	MaxSpeaks        = 1000
	maxServiceLength = 128
	// receiptRest is more than the length of a receipt without Applied.
	receiptRest = 300
	// MaxServiceID is the longest id of a service, the part of its name before the "/".
	MaxServiceID = 64
)

// ServiceID returns the default id of a client's service: the client's id with "-" in place of
// each character that is not allowed in a token of a NATS subject.
func ServiceID(client string) string {
	if len(client) > MaxServiceID {
		client = client[:MaxServiceID]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_', r == '-':
			return r
		}
		return '-'
	}, client)
}

// Receipt is a report of a service to the broker: how far it has applied the revocations and
// whether it can prove that it is current. It is not signed: the permissions of NATS, or the
// client of the HTTP request, decide who may send one for which service.
type Receipt struct {
	V int `json:"v"`
	// Service is "<id>/<a random part of this process>", so each replica is counted.
	Service string `json:"service"`
	// Applied has, for each origin that the service follows, the batch up to which it has
	// applied all.
	Applied map[string]uint64 `json:"applied"`
	// Fresh says that the service can prove that it is current; AgeMS is the age of
	// its knowledge in milliseconds.
	Fresh bool  `json:"fresh"`
	AgeMS int64 `json:"age_ms"`
	// Speaks is the version of the protocol that the service speaks, see [Speaks]. If 0, the service is
	// older than version 2 and cannot follow several brokers.
	Speaks int `json:"speaks,omitempty"`
	// Speaker is the origin of the broker that the service hears, see [State.Speaker]. It is empty if the service is
	// older or does not know it. It has at most 64 characters of "A-Z a-z 0-9 _ -".
	Speaker string `json:"speaker,omitempty"`
}

// LimitApplied removes origins from Applied until the receipt is within its limits. The origins that are least by
// compare stay, in case of equality by name. It also removes a Speaker that a receipt cannot name.
func (r *Receipt) LimitApplied(compare func(a, b string) int) {
	if !validSpeaker(r.Speaker) {
		r.Speaker = ""
	}
	origins := slices.Sorted(maps.Keys(r.Applied))
	slices.SortStableFunc(origins, compare)
	kept := fitting(origins, MaxReceiptBytes-receiptRest, func(origin string) int {
		escapes := strings.Count(origin, `"`) + strings.Count(origin, `\`)
		return len(strconv.FormatUint(r.Applied[origin], 10)) + len(origin) + escapes + len(`"":,`)
	})
	for _, origin := range origins[min(len(kept), MaxReceiptOrigins):] {
		delete(r.Applied, origin)
	}
}

// EncodeReceipt returns a receipt's JSON. It returns [ErrMalformed] for a receipt that
// [ParseReceipt] would refuse.
func EncodeReceipt(r Receipt) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if r.Applied == nil {
		r.Applied = map[string]uint64{}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // an origin may hold & and <
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("encoding a receipt: %w", err)
	}
	raw := bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
	if len(raw) > MaxReceiptBytes {
		return nil, fmt.Errorf("%w: a receipt of %d bytes", ErrMalformed, len(raw))
	}
	return raw, nil
}

// ParseReceipt decodes a receipt that [EncodeReceipt] encoded. Unknown members are ignored. For a
// receipt that is out of bounds or of another version it returns [ErrMalformed].
func ParseReceipt(raw []byte) (Receipt, error) {
	if len(raw) > MaxReceiptBytes {
		return Receipt{}, fmt.Errorf("%w: a receipt of %d bytes", ErrMalformed, len(raw))
	}
	var r Receipt
	if err := strictjson.Unmarshal(raw, &r); err != nil {
		return Receipt{}, fmt.Errorf("%w: receipt", ErrMalformed)
	}
	if err := r.check(); err != nil {
		return Receipt{}, err
	}
	return r, nil
}

func (r Receipt) check() error {
	switch {
	case r.V != Version:
		return fmt.Errorf("%w: a receipt of version %d", ErrMalformed, r.V)
	case !validService(r.Service):
		return fmt.Errorf("%w: a receipt's service", ErrMalformed)
	case len(r.Applied) > MaxReceiptOrigins:
		return fmt.Errorf("%w: a receipt with %d origins", ErrMalformed, len(r.Applied))
	case r.AgeMS < 0 || r.AgeMS > maxMillis:
		return fmt.Errorf("%w: a receipt's age", ErrMalformed)
	case r.Speaks < 0 || r.Speaks > MaxSpeaks:
		return fmt.Errorf("%w: a receipt's version of the protocol", ErrMalformed)
	case !validSpeaker(r.Speaker):
		return fmt.Errorf("%w: a receipt's speaker", ErrMalformed)
	}
	for origin, seq := range r.Applied {
		if !validName(origin) || seq > MaxSeq {
			return fmt.Errorf("%w: a receipt's position", ErrMalformed)
		}
	}
	return nil
}

// validSpeaker reports whether a receipt may name that speaker. None is valid.
func validSpeaker(s string) bool { return s == ServiceID(s) }

// validService bounds the name of a service to what a log line and a table can show as it is.
func validService(s string) bool {
	return s != "" && len(s) <= maxServiceLength && !strings.ContainsFunc(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("_.:/-", r)
	})
}
