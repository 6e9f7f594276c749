package validator

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"tokenbroker/revocation"
)

const vectorsFile = "testdata/vectors.json"

// vectors are tokens with the verdict that the standards ask for, in the manner of Project
// Wycheproof; writeVectors makes them.
type vectors struct {
	Note     string          `json:"note"`
	Issuer   string          `json:"issuer"`
	Audience string          `json:"audience"`
	NowMS    int64           `json:"now_ms"`
	JWKS     json.RawMessage `json:"jwks"`
	Vectors  []vector        `json:"vectors"`
}

type vector struct {
	Name  string `json:"name"`
	Why   string `json:"why"` // the clause
	Token string `json:"token"`
	Valid bool   `json:"valid"`
}

// vectorSource has the keys of the file.
type vectorSource struct {
	fixed view
	keys  map[string]verificationKey
	deny  *revocation.Denylist
}

func (s *vectorSource) key(_ context.Context, kid string) (verificationKey, error) {
	key, ok := s.keys[kid]
	if !ok {
		return key, errUnknownKey
	}
	return key, nil
}
func (s *vectorSource) view() *view                    { return &s.fixed }
func (s *vectorSource) denylist() *revocation.Denylist { return s.deny }

func TestVectors(t *testing.T) {
	raw, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var all vectors
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	_, keys, err := parseTokenKeys(all.JWKS)
	if err != nil {
		t.Fatal(err)
	}
	s := &vectorSource{keys: keys, deny: revocation.NewDenylist(), fixed: aged(0, all.NowMS)}
	v := newValidator(all.Issuer, []string{all.Audience}, 100, newViewBackend(s, time.Hour))
	good := 0
	for _, row := range all.Vectors {
		t.Run(row.Name, func(t *testing.T) {
			for range 2 { // a token that was accepted once is remembered
				claims, err := v.Validate(t.Context(), row.Token)
				switch {
				case row.Valid && err != nil:
					t.Errorf("refused: %v (%s)", err, row.Why)
				case !row.Valid && !errors.Is(err, ErrInvalid):
					t.Errorf("got %v, %v (%s)", claims, err, row.Why)
				}
			}
		})
		if row.Valid {
			good++
		}
	}
	if good < 5 || len(all.Vectors)-good < 70 {
		t.Errorf("%d good ones and %d bad ones: the file has lost some", good, len(all.Vectors)-good)
	}
}
