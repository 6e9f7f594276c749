package upstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenbroker/internal/plainjson"
)

// claims are the members of a verified payload, by their exact names. Numbers are
// [json.Number], because a float64 does not hold every number.
type claims map[string]any

// readClaims reads a payload. It refuses duplicate members and names that differ only in
// case at every depth, and JSON that is nested too deeply or has too many members: claim
// names are case-sensitive (RFC 7519 §4), and what the issuer's other readers take for one
// claim must not be two here.
func readClaims(payload []byte) (claims, error) {
	members, err := plainjson.ReadUnambiguous(string(payload))
	if err != nil {
		return nil, fmt.Errorf("reading the claims: %w", err)
	}
	out := make(claims, len(members))
	for _, m := range members {
		decoder := json.NewDecoder(strings.NewReader(m.Value))
		decoder.UseNumber()
		var value any
		if err := decoder.Decode(&value); err != nil {
			return nil, fmt.Errorf("reading the claims: %w", err)
		}
		out[m.Name] = value
	}
	return out, nil
}

// text returns a claim that is a string. One of another type counts as absent, so that a
// provider's own idea of a claim such as "acr" refuses no one.
func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// texts returns the strings in a claim that is an array; other elements are left out.
func (c claims) texts(name string) []string {
	list, _ := c[name].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// registered are the claims that decide about a token. Here a wrong type is an error.
type registered struct {
	issuer, subject, nonce, atHash string
	audience                       []string
	expires, issued, notBefore     time.Time // zero: absent
}

var errClaimType = errors.New("a registered claim has a wrong type")

// registered reads the claims of RFC 7519 §4.1 and OIDC Core §2 that decide about the token.
func (c claims) registered() (r registered, err error) {
	for name, into := range map[string]*string{"iss": &r.issuer, "sub": &r.subject, "nonce": &r.nonce, "at_hash": &r.atHash} {
		var ok bool
		if *into, ok = c[name].(string); !ok && c[name] != nil {
			return r, fmt.Errorf("%w: %s", errClaimType, name)
		}
	}
	for name, into := range map[string]*time.Time{"exp": &r.expires, "iat": &r.issued, "nbf": &r.notBefore} {
		if *into, err = numericDate(c[name]); err != nil {
			return r, fmt.Errorf("%w: %s", errClaimType, name)
		}
	}
	switch aud := c["aud"].(type) {
	case nil:
	case string:
		r.audience = []string{aud}
	case []any:
		if r.audience = c.texts("aud"); len(r.audience) != len(aud) {
			return r, fmt.Errorf("%w: aud", errClaimType)
		}
	default:
		return r, fmt.Errorf("%w: aud", errClaimType)
	}
	return r, nil
}

// maxDate bounds a NumericDate: seconds that a float64 holds exactly.
const maxDate = 1 << 53

// numericDate reads a NumericDate (RFC 7519 §2), in seconds and perhaps with a fraction. A
// null or absent one is the zero time, and one beyond ±maxDate is taken for that.
func numericDate(value any) (time.Time, error) {
	if value == nil {
		return time.Time{}, nil
	}
	number, ok := value.(json.Number)
	if !ok {
		return time.Time{}, errClaimType
	}
	seconds, err := number.Float64()
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(max(-maxDate, min(seconds, maxDate))), 0), nil
}
