package revocation_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
)

var (
	feedKey  = ed25519.NewKeyFromSeed([]byte("a seed for the golden files only"))
	golden   = []string{"batch", "batch_ack", "heartbeat", "heartbeat_heads"}
	messages = map[string]any{
		"batch": revocation.Batch{V: 1, Store: "s1", Origin: "o1", Seq: 7, At: 1700000000, Events: []revocation.Event{
			{Kind: "sid", Value: aSID, ExpiresAt: 1700000400, At: 1700000000, Reason: "logoff"},
			{Kind: "sub", Value: "ada", ExpiresAt: 1700000400, At: 1700000000, Reason: "user_disabled", Epoch: 1700000000123},
		}},
		"batch_ack": revocation.Batch{V: 1, Store: "s1", Origin: "o1", Seq: 8, At: 1700000001, Ack: true, Events: []revocation.Event{
			{Kind: "all", ExpiresAt: 1700000400, At: 1700000001, Reason: "restore", Epoch: 5},
		}},
		"heartbeat": revocation.Heartbeat{V: 1, Store: "s1", Origin: "o1", Head: 8, Up: 90000, AtMS: 1700000002000, TimeFloor: 1699990000, JWKS: `"tag"`},
		"heartbeat_heads": revocation.Heartbeat{
			V: 1, Store: "s1", Origin: "o1", Head: 8, Up: 90000, AtMS: 1700000002000, TimeFloor: 1699990000, JWKS: `"tag"`,
			Heads: map[string]uint64{"o2": 3, "o1": 9},
		},
	}
)

func keyOf(kid string) (ed25519.PublicKey, bool) {
	return feedKey.Public().(ed25519.PublicKey), kid == "feed-1"
}

func typeOf(name string) string {
	if strings.HasPrefix(name, "heartbeat") {
		return revocation.HeartbeatType
	}
	return revocation.BatchType
}

// TestGoldenMessages checks that the wire forms do not change. Ed25519 is deterministic.
func TestGoldenMessages(t *testing.T) {
	for _, name := range golden {
		t.Run(name, func(t *testing.T) {
			raw, err := revocation.SignMessage(feedKey, "feed-1", typeOf(name), messages[name])
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".jws")
			if *rewrite {
				if err := os.WriteFile(file, append(raw, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want = bytes.TrimSpace(want)
			if !bytes.Equal(raw, want) {
				t.Errorf("signed\n%s\nwant\n%s", raw, want)
			}
			m, err := revocation.ParseMessage(want, keyOf)
			if err != nil || m.Incomplete || m.KID != "feed-1" || m.Origin() != "o1" || m.Store() != "s1" {
				t.Fatalf("parsed %+v, %v", m, err)
			}
			var got any
			if m.Batch != nil {
				got = *m.Batch
			} else {
				got = *m.Heartbeat
			}
			if diff := cmp.Diff(messages[name], got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func sign(header, payload string) []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return []byte(signed + "." + b64(ed25519.Sign(feedKey, []byte(signed))))
}

func TestParseMessageRefuses(t *testing.T) {
	const head = `{"alg":"EdDSA","kid":"feed-1","typ":"revocations+jws"}`
	const beatHead = `{"alg":"EdDSA","kid":"feed-1","typ":"heartbeat+jws"}`
	const body = `{"v":1,"store":"s","origin":"o","seq":1,"at":5,"events":[]}`
	good := sign(head, body)
	if _, err := revocation.ParseMessage(good, keyOf); err != nil {
		t.Fatal(err)
	}
	event := func(e string) []byte {
		return sign(head, `{"v":1,"store":"s","origin":"o","seq":1,"at":5,"events":[`+e+`]}`)
	}
	tests := map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":              {nil, revocation.ErrMalformed},
		"two parts":            {good[:bytes.LastIndexByte(good, '.')], revocation.ErrMalformed},
		"four parts":           {append(bytes.Clone(good), ".x"...), revocation.ErrMalformed},
		"a line break":         {append(bytes.Clone(good), '\n'), revocation.ErrMalformed},
		"a changed payload":    {bytes.Replace(good, []byte(".ey"), []byte(".eX"), 1), revocation.ErrSignature},
		"too long":             {bytes.Repeat([]byte{'a'}, 1<<20), revocation.ErrMalformed},
		"alg none":             {sign(strings.Replace(head, "EdDSA", "none", 1), body), revocation.ErrMalformed},
		"alg in lower case":    {sign(strings.Replace(head, "EdDSA", "eddsa", 1), body), revocation.ErrMalformed},
		"another type":         {sign(strings.Replace(head, "revocations+jws", "at+jwt", 1), body), revocation.ErrMalformed},
		"no key id":            {sign(`{"alg":"EdDSA","typ":"revocations+jws"}`, body), revocation.ErrMalformed},
		"alg twice":            {sign(`{"alg":"EdDSA","alg":"EdDSA","kid":"feed-1","typ":"revocations+jws"}`, body), revocation.ErrMalformed},
		"crit":                 {sign(strings.Replace(head, "{", `{"crit":["x"],`, 1), body), revocation.ErrMalformed},
		"b64":                  {sign(strings.Replace(head, "{", `{"b64":false,`, 1), body), revocation.ErrMalformed},
		"unknown key":          {sign(strings.Replace(head, "feed-1", "feed-2", 1), body), revocation.ErrUnknownKey},
		"a batch as heartbeat": {sign(beatHead, `{"v":1,"store":"s","origin":"o.1"}`), revocation.ErrMalformed},
		"not JSON":             {sign(head, `{`), revocation.ErrMalformed},
		"seq 0":                {sign(head, strings.Replace(body, `"seq":1`, `"seq":0`, 1)), revocation.ErrMalformed},
		"seq 2^53":             {sign(head, strings.Replace(body, `"seq":1`, `"seq":9007199254740992`, 1)), revocation.ErrMalformed},
		"seq twice":            {sign(head, strings.Replace(body, `"seq":1`, `"seq":1,"seq":2`, 1)), revocation.ErrMalformed},
		"a fraction":           {sign(head, strings.Replace(body, `"seq":1`, `"seq":1.5`, 1)), revocation.ErrMalformed},
		"a dotted origin":      {sign(head, strings.Replace(body, `"o"`, `"o.p"`, 1)), revocation.ErrMalformed},
		"a long origin":        {sign(head, strings.Replace(body, `"o"`, `"`+strings.Repeat("o", 65)+`"`, 1)), revocation.ErrMalformed},
		"no store":             {sign(head, strings.Replace(body, `"s"`, `""`, 1)), revocation.ErrMalformed},
		"too many events":      {event(strings.Repeat(`{"kind":"all"},`, revocation.MaxBatchEvents) + `{"kind":"all"}`), revocation.ErrMalformed},
		"an event of nothing":  {event(`{"kind":"sid","value":""}`), revocation.ErrMalformed},
		"all with a value":     {event(`{"kind":"all","value":"x"}`), revocation.ErrMalformed},
		"a negative epoch":     {event(`{"kind":"all","epoch":-1}`), revocation.ErrMalformed},
		"a negative up":        {sign(beatHead, `{"v":1,"store":"s","origin":"o","up":-1}`), revocation.ErrMalformed},
		"a heartbeat too long": {sign(beatHead, `{"v":1,"store":"s","origin":"o"`+strings.Repeat(" ", revocation.MaxHeartbeatBytes)+`}`), revocation.ErrMalformed},
		"an up that overflows": {sign(beatHead, `{"v":1,"store":"s","origin":"o","up":9223372036854775807}`), revocation.ErrMalformed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := revocation.ParseMessage(tt.raw, keyOf); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// TestParseMessageEveryCharacter checks that no message with a single changed character is accepted.
func TestParseMessageEveryCharacter(t *testing.T) {
	raw, err := revocation.SignMessage(feedKey, "feed-1", revocation.HeartbeatType, messages["heartbeat"])
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] = map[bool]byte{true: 'B', false: 'A'}[bad[i] == 'A']
		if _, err := revocation.ParseMessage(bad, keyOf); err == nil {
			t.Fatalf("passes with character %d changed", i)
		}
	}
}

func TestParseMessageOfLaterVersions(t *testing.T) {
	const head = `{"alg":"EdDSA","kid":"feed-1","typ":"revocations+jws","new":1}`
	tests := map[string]struct {
		payload string
		want    bool
	}{
		"an unknown member":       {`{"v":1,"store":"s","origin":"o","seq":4,"events":[],"new":{}}`, false},
		"an unknown kind":         {`{"v":1,"store":"s","origin":"o","seq":4,"events":[{"kind":"all","epoch":3},{"kind":"new"}]}`, true},
		"another version":         {`{"v":2,"store":"s","origin":"o","seq":4,"events":"elsewhere"}`, true},
		"no version":              {`{"store":"s","origin":"o","seq":4,"events":[]}`, true},
		"a case-folded name only": {`{"V":1,"store":"s","origin":"o","seq":4,"events":[]}`, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := revocation.ParseMessage(sign(head, tt.payload), keyOf)
			if err != nil || m.Incomplete != tt.want || m.Batch.Seq != 4 || len(m.Batch.Events) != 0 {
				t.Errorf("got %+v, %v", m, err)
			}
		})
	}
}

// TestParseMessageOfHeads parses heads of a heartbeat. Heads that are not understood leave the rest of the
// heartbeat in force: its head may show a missing batch.
func TestParseMessageOfHeads(t *testing.T) {
	many := func(n int) string { // with "o"
		var b strings.Builder
		b.WriteString(`{"o":4`)
		for i := range n - 1 {
			fmt.Fprintf(&b, `,"x%d":%d`, i, i)
		}
		return b.String() + "}"
	}
	parse := func(t *testing.T, head int, heads string) revocation.Message {
		t.Helper()
		m, err := revocation.ParseMessage(sign(`{"alg":"EdDSA","kid":"feed-1","typ":"heartbeat+jws"}`,
			fmt.Sprintf(`{"v":1,"store":"s","origin":"o","head":%d,"up":5,"heads":%s}`, head, heads)), keyOf)
		if err != nil || m.Heartbeat.Head != uint64(head) {
			t.Fatalf("got %+v, %v", m, err)
		}
		return m
	}
	if m := parse(t, 0, `{"p":4}`); !m.Incomplete {
		t.Error("heads without the sender, which has no batches, are understood")
	}
	for name, tt := range map[string]struct {
		heads string
		want  int // number of heads; 0 means not understood
	}{
		"the sender's":            {`{"o":4}`, 1},
		"a higher head":           {`{"o":5}`, 1},
		"two origins":             {`{"o":4,"p":0}`, 2},
		"white space":             {`{ "o" : 4, "p" : 9007199254740991 }`, 2},
		"an escape":               {`{"\u006f":4}`, 1},
		"1,024 origins":           {many(1024), 1024},
		"1,025 origins":           {many(1025), 0},
		"1,025 origins, spaced":   {" " + many(1025), 0},
		"none":                    {`{}`, 0},
		"without the sender":      {`{"p":4}`, 0},
		"a lower head":            {`{"o":3}`, 0},
		"a head of 2^53":          {`{"o":4,"p":9007199254740992}`, 0},
		"a head below zero":       {`{"o":4,"p":-1}`, 0},
		"a fraction":              {`{"o":4,"p":1.5}`, 0},
		"a dotted origin":         {`{"o":4,"p.q":1}`, 0},
		"an origin without name":  {`{"o":4,"":1}`, 0},
		"an origin twice":         {`{"o":4,"o":4}`, 0},
		"an origin twice, spaced": {`{"o":4, "o":4}`, 0},
		"null":                    {`null`, 0},
		"a list":                  {`["o"]`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if m := parse(t, 4, tt.heads); m.Incomplete != (tt.want == 0) || len(m.Heartbeat.Heads) != tt.want {
				t.Errorf("got %+v", m)
			}
		})
	}
}

func TestSignMessageRefusesAPayloadThatIsTooLarge(t *testing.T) {
	b := revocation.Batch{V: 1, Store: "s", Origin: strings.Repeat("o", revocation.MaxBatchBytes), Seq: 1}
	if _, err := revocation.SignMessage(feedKey, "feed-1", revocation.BatchType, b); err == nil {
		t.Error("signed")
	}
	b.Origin = strings.Repeat("o", revocation.MaxHeartbeatBytes)
	if _, err := revocation.SignMessage(feedKey, "feed-1", revocation.HeartbeatType, b); err == nil {
		t.Error("signed a heartbeat")
	}
	if _, err := revocation.SignMessage(feedKey, "feed-1", revocation.BatchType, b); err != nil {
		t.Error(err)
	}
}

// TestTheLargestHeartbeatIsAccepted also checks that parsing it allocates little more than its map.
func TestTheLargestHeartbeatIsAccepted(t *testing.T) {
	h := revocation.Heartbeat{V: 1, Store: "s", Origin: strings.Repeat("o", 64), Head: 1, Heads: map[string]uint64{}}
	for i := range revocation.MaxOrigins - 1 {
		h.Heads[fmt.Sprintf("%064d", i)] = revocation.MaxSeq
	}
	h.Heads[h.Origin] = 1
	raw, err := revocation.SignMessage(feedKey, "feed-1", revocation.HeartbeatType, h)
	if err != nil {
		t.Fatal(err)
	}
	m, err := revocation.ParseMessage(raw, keyOf)
	if diff := cmp.Diff(&h, m.Heartbeat); err != nil || m.Incomplete || diff != "" {
		t.Fatal(err, diff)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = revocation.ParseMessage(raw, keyOf) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecodeAnswer(t *testing.T) {
	const good = `{"v":1,"store":"s","origin":"o","up":5,"at_ms":9,"time_floor":0,"full":true,"origins":[{"origin":"o","head":3}],"kids":["k"],"events":[{"kind":"all","epoch":2}]}`
	a, err := revocation.DecodeAnswer(strings.NewReader(good))
	if err != nil || a.Origins[0].Head != 3 || a.Kids[0] != "k" || a.Events[0].Epoch != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
	for name, change := range map[string][2]string{
		"another version":       {`"v":1`, `"v":2`},
		"no store":              {`"store":"s"`, `"store":""`},
		"not listed itself":     {`{"origin":"o","head":3}`, `{"origin":"p","head":3}`},
		"no origins":            {`[{"origin":"o","head":3}]`, `[]`},
		"a head beyond 2^53":    {`"head":3`, `"head":9007199254740992`},
		"a negative up":         {`"up":5`, `"up":-5`},
		"an unknown kind":       {`"kind":"all"`, `"kind":"new"`},
		"an event out of range": {`"epoch":2`, `"epoch":-2`},
		"cut short":             {`]}`, ``},
		"more after it":         {`]}`, `]}{}`},
	} {
		t.Run(name, func(t *testing.T) {
			i := strings.LastIndex(good, change[0])
			bad := good[:i] + change[1] + good[i+len(change[0]):]
			if _, err := revocation.DecodeAnswer(strings.NewReader(bad)); err == nil {
				t.Errorf("taken: %s", bad)
			}
		})
	}
}

// FuzzParseMessage checks that an accepted message is within bounds and round-trips.
func FuzzParseMessage(f *testing.F) {
	for _, name := range golden {
		payload, err := json.Marshal(messages[name])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(fmt.Sprintf(`{"alg":"EdDSA","kid":"feed-1","typ":%q}`, typeOf(name)), string(payload))
	}
	f.Fuzz(func(t *testing.T, header, payload string) {
		m, err := revocation.ParseMessage(sign(header, payload), keyOf)
		if err != nil {
			return
		}
		if (m.Batch == nil) == (m.Heartbeat == nil) || m.Origin() == "" || strings.Contains(m.Origin(), ".") {
			t.Fatalf("out of bounds: %+v", m)
		}
		if m.Batch == nil || m.Incomplete {
			return
		}
		raw, err := revocation.SignMessage(feedKey, "feed-1", revocation.BatchType, m.Batch)
		if err != nil {
			return // it may grow over the limit when it is written again
		}
		again, err := revocation.ParseMessage(raw, keyOf)
		if diff := cmp.Diff(m.Batch, again.Batch); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
	})
}
