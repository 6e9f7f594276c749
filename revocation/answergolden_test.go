package revocation_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
)

const (
	goldenSID = "mfrggzdfmztwq2lknnwg23tpoa"
	goldenJTI = "0f8fad5b-d9cb-469f-a165-70867728950e"
)

var answers = map[string]*revocation.Answer{
	"nothing": {
		V: 1, Store: "s1", Origin: "o1", Up: 90_000, AtMS: 1_700_000_002_000, TimeFloor: 1_699_990_000,
		Origins: []revocation.OriginHead{{Origin: "o1", Head: 8}}, Kids: []string{}, Events: []revocation.Event{},
	},
	"delta": {
		V: 1, Store: "s1", Origin: "o1", Up: 90_000, AtMS: 1_700_000_002_000, TimeFloor: 1_699_990_000,
		Origins: []revocation.OriginHead{{Origin: "o1", Head: 8}}, Kids: []string{"k0"},
		Events: []revocation.Event{
			{Kind: "sid", Value: goldenSID, ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "logoff"},
			{Kind: "sub", Value: "ada", ExpiresAt: 1_700_000_901, At: 1_700_000_001, Reason: "user_disabled", Epoch: 300},
		},
	},
	"two_origins": {
		V: 1, Store: "s1", Origin: "o2", Up: 5_000, AtMS: 1_700_000_002_500, TimeFloor: 1_699_990_000,
		Origins: []revocation.OriginHead{{Origin: "o1", Head: 9}, {Origin: "o2", Head: 3}}, Kids: []string{},
		Events: []revocation.Event{
			{Kind: "sid", Value: goldenSID, ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "logoff"},
		},
	},
	"full": {
		V: 1, Store: "s1", Origin: "o1", Up: 0, AtMS: 1_700_000_002_000, TimeFloor: 0, Full: true,
		Origins: []revocation.OriginHead{{Origin: "o1", Head: 1<<53 - 1}, {Origin: "o2", Head: 0}}, Kids: []string{"k0", "schlüssel"},
		Events: []revocation.Event{
			{Kind: "jti", Value: goldenJTI, ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "logoff"},
			{Kind: "jti", Value: strings.ToUpper(goldenJTI), ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "reuse"},
			{Kind: "jti", Value: goldenSID, ExpiresAt: 1_700_000_899, At: 1_699_999_999, Reason: "rollback"},
			{Kind: "sid", Value: goldenSID, ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "revoked"},
			{Kind: "sid", Value: goldenSID[:25] + "b", ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "user_disabled"},
			{Kind: "sid", Value: "of another broker", ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "all_others"},
			{Kind: "sub", Value: "ada", ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "backchannel", Epoch: 1},
			{Kind: "sub", Value: "zoë <&>\n", ExpiresAt: 0, At: 0, Reason: "upstream", Epoch: 1<<63 - 1},
			{Kind: "client", Value: "spa", ExpiresAt: 1 << 43, At: 1 << 43, Reason: "key_compromise", Epoch: 1_700_000_000_123},
			{Kind: "kid", Value: "k0", ExpiresAt: 0, At: 1 << 43, Reason: "restore"},
			{Kind: "all", ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: "a later reason", Epoch: 5},
			{Kind: "all", ExpiresAt: 1_700_000_900, At: 1_700_000_000, Reason: ""},
		},
	},
}

func encoded(t testing.TB, as revocation.Form, a *revocation.Answer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := revocation.EncodeAnswer(&b, as, a); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkGolden compares data with a file in testdata, or rewrites the file.
func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs: got\n%q\nwant\n%q", name, got, want)
	}
}

// TestGoldenAnswers checks that neither form changes and that both have the same content.
func TestGoldenAnswers(t *testing.T) {
	for name, a := range answers {
		t.Run(name, func(t *testing.T) {
			text, packed := encoded(t, revocation.FormJSON, a), encoded(t, revocation.FormBinary, a)
			checkGolden(t, "answer/"+name+".json", append(bytes.Clone(text), '\n'))
			checkGolden(t, "answer/"+name+".bin", packed)
			if plain, err := json.Marshal(a); err != nil || !bytes.Equal(text, plain) {
				t.Errorf("the JSON is not the JSON of the struct: %v", err)
			}
			fromJSON, err := revocation.DecodeAnswer(bytes.NewReader(text))
			if diff := cmp.Diff(a, fromJSON); err != nil || diff != "" {
				t.Error(err, diff)
			}
			fromBinary, err := revocation.DecodeBinaryAnswer(bytes.NewReader(packed))
			if diff := cmp.Diff(a, fromBinary); err != nil || diff != "" {
				t.Error(err, diff)
			}
		})
	}
}

// TestGoldenFeedKeys checks the public key of the golden messages.
func TestGoldenFeedKeys(t *testing.T) {
	x := base64.RawURLEncoding.EncodeToString(feedKey.Public().(ed25519.PublicKey))
	checkGolden(t, "feed_keys.json", fmt.Appendf(nil,
		`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"feed-1","x":%q}],"store":"s1"}`+"\n", x))
}

// TestTheDocumentedAnswer checks that the bytes that docs/feed.md explains are the golden ones.
func TestTheDocumentedAnswer(t *testing.T) {
	doc, err := os.ReadFile("../docs/feed.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "`answer/delta.bin`, byte by byte:\n\n```text\n")
	block, _, ok := strings.Cut(rest, "```")
	var all string
	for line := range strings.SplitSeq(block, "\n") {
		bytesOf, _, _ := strings.Cut(line, "  ")
		all += strings.ReplaceAll(bytesOf, " ", "")
	}
	got, err := hex.DecodeString(all)
	if want := encoded(t, revocation.FormBinary, answers["delta"]); !ok || err != nil || !bytes.Equal(got, want) {
		t.Errorf("documented (%v)\n%x\nwant\n%x", err, got, want)
	}
}
