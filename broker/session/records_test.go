package session_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker/session"
)

// A number that float64 cannot represent stays exact when the record is read and written again.
func TestNumbersInAttributesAreKeptExactly(t *testing.T) {
	record := `{"v":1,"uid":"u","attributes":{"employee":12345678901234567890},"created_at":1}`
	u, err := session.DecodeUser([]byte(record))
	if err != nil {
		t.Fatal(err)
	}
	again, err := u.Encode()
	if err != nil || !strings.Contains(string(again), `"employee":12345678901234567890`) {
		t.Errorf("%s, %v", again, err)
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	whole, err := session.NewUser("u", "ada", "", nil, time.Unix(1, 0)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty": "", "cut": string(whole[:len(whole)-1]), "followed": string(whole) + "{}", "another version": `{"v":2,"uid":"u"}`,
	} {
		if _, err := session.DecodeUser([]byte(data)); !errors.Is(err, session.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
