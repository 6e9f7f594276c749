package revocation_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/revocation"
)

func aReceipt() revocation.Receipt {
	return revocation.Receipt{
		V: 1, Service: "demo-service/k3v9q2ab", Applied: map[string]uint64{"o2": 0, "o1": 8}, Fresh: true, AgeMS: 812,
	}
}

func TestGoldenReceipts(t *testing.T) {
	speaks := aReceipt()
	speaks.Speaks = revocation.Speaks
	speaker := speaks
	speaker.Speaker = "o2"
	for file, receipt := range map[string]revocation.Receipt{
		"receipt.json": aReceipt(), "receipt_speaks.json": speaks, "receipt_speaker.json": speaker,
	} {
		raw, err := revocation.EncodeReceipt(receipt)
		if err != nil {
			t.Fatal(err)
		}
		checkGolden(t, file, append(bytes.Clone(raw), '\n'))
		got, err := revocation.ParseReceipt(raw)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(receipt, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReceiptOutOfBounds(t *testing.T) {
	for name, change := range map[string]func(*revocation.Receipt){
		"no version":              func(r *revocation.Receipt) { r.V = 0 },
		"a later version":         func(r *revocation.Receipt) { r.V = 2 },
		"no service":              func(r *revocation.Receipt) { r.Service = "" },
		"a long service":          func(r *revocation.Receipt) { r.Service = strings.Repeat("s", 129) },
		"a service with a space":  func(r *revocation.Receipt) { r.Service = "a b" },
		"a service with a colour": func(r *revocation.Receipt) { r.Service = "a\x1b[31m" },
		"a service not ASCII":     func(r *revocation.Receipt) { r.Service = "é" },
		"a seq of 2^53":           func(r *revocation.Receipt) { r.Applied["o1"] = 1 << 53 },
		"an origin with a dot":    func(r *revocation.Receipt) { r.Applied["o.1"] = 1 },
		"an age below zero":       func(r *revocation.Receipt) { r.AgeMS = -1 },
		"an age of ages":          func(r *revocation.Receipt) { r.AgeMS = 1<<43 + 1 },
		"a negative speaks":       func(r *revocation.Receipt) { r.Speaks = -1 },
		"a speaks of 1001":        func(r *revocation.Receipt) { r.Speaks = 1001 },
		"a long speaker":          func(r *revocation.Receipt) { r.Speaker = strings.Repeat("o", 65) },
		"a speaker with a dot":    func(r *revocation.Receipt) { r.Speaker = "o.1" },
		"a speaker with a colour": func(r *revocation.Receipt) { r.Speaker = "o\x1b[31m" },
		"65 origins": func(r *revocation.Receipt) {
			for i := range 63 {
				r.Applied[fmt.Sprint("x", i)] = 1
			}
		},
		"too many bytes": func(r *revocation.Receipt) {
			for i := range 60 {
				r.Applied[fmt.Sprintf("%064d", i)] = 1
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := aReceipt()
			change(&r)
			if raw, err := revocation.EncodeReceipt(r); !errors.Is(err, revocation.ErrMalformed) {
				t.Errorf("encoded %s, %v", raw, err)
			}
		})
	}
}

// However many origins a service follows, its receipt is within the limits.
func TestAReceiptIsLimitedToTheFirstOrigins(t *testing.T) {
	for form, kept := range map[string]int{
		"%d":       revocation.MaxReceiptOrigins,
		"%026d":    revocation.MaxReceiptOrigins,
		"%064d":    45, // 3,840 bytes, 84 for each
		`"\\%03d"`: revocation.MaxReceiptOrigins,
		`""""""""""""""""""""""""""""""""""""""""""""""""""""""""""""%04d`: 26, // each quote takes two bytes
	} {
		r := revocation.Receipt{
			V: 1, Service: strings.Repeat("s", 128), AgeMS: 1 << 43, Speaks: 1000, Applied: map[string]uint64{},
			Speaker: strings.Repeat("o", 64),
		}
		rank := map[string]int{}
		for i := range revocation.MaxOrigins {
			name := fmt.Sprintf(form, i)
			r.Applied[name], rank[name] = revocation.MaxSeq, (i+500)%revocation.MaxOrigins
		}
		r.LimitApplied(func(a, b string) int { return rank[a] - rank[b] })
		raw, err := revocation.EncodeReceipt(r)
		if err != nil || len(r.Applied) != kept {
			t.Errorf("%s: %d origins, want %d; %d bytes, %v", form, len(r.Applied), kept, len(raw), err)
		}
		for name := range r.Applied {
			if rank[name] >= kept {
				t.Errorf("%s: %s is the %dth", form, name, rank[name])
			}
		}
	}
	small := aReceipt()
	small.Speaker = "not a speaker" // which would make the receipt invalid
	small.LimitApplied(strings.Compare)
	if diff := cmp.Diff(aReceipt(), small); diff != "" {
		t.Error(diff)
	}
}

func TestParseReceipt(t *testing.T) {
	const good = `{"v":1,"service":"s","applied":{"o1":9007199254740991},"fresh":false,"age_ms":5,"later":[1]}`
	want := revocation.Receipt{V: 1, Service: "s", Applied: map[string]uint64{"o1": revocation.MaxSeq}, AgeMS: 5}
	got, err := revocation.ParseReceipt([]byte(good))
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, raw := range map[string]string{
		"nothing":              "",
		"no object":            "[]",
		"more behind it":       good + "{}",
		"a member twice":       strings.Replace(good, `"fresh"`, `"v":1,"fresh"`, 1),
		"an origin twice":      strings.Replace(good, `"o1":`, `"o1":1,"o1":`, 1),
		"a member in capitals": strings.Replace(good, `"service"`, `"SERVICE"`, 1),
		"a seq of 2^53":        strings.Replace(good, "9007199254740991", "9007199254740992", 1),
		"a seq below zero":     strings.Replace(good, "9007199254740991", "-1", 1),
		"more than 4 KiB":      good + strings.Repeat(" ", 4096),
		"an age of minus one":  strings.Replace(good, `"age_ms":5`, `"age_ms":-1`, 1),
		"another version":      strings.Replace(good, `"v":1`, `"v":2`, 1),
		"a newline in service": strings.Replace(good, `"s"`, `"s\n"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := revocation.ParseReceipt([]byte(raw)); !errors.Is(err, revocation.ErrMalformed) {
				t.Errorf("parsed %+v, %v", got, err)
			}
		})
	}
}

// FuzzParseReceipt checks that an accepted receipt is within bounds and round-trips.
func FuzzParseReceipt(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "receipt.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"v":1,"service":"a","applied":{"<&":1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := revocation.ParseReceipt(raw)
		if err != nil {
			return
		}
		again, err := revocation.EncodeReceipt(r)
		if err != nil {
			if len(raw) > revocation.MaxReceiptBytes-100 { // members left out of raw are written
				return
			}
			t.Fatal(err)
		}
		got, err := revocation.ParseReceipt(again)
		if err != nil || got.Service != r.Service || got.Fresh != r.Fresh || got.AgeMS != r.AgeMS || got.Speaks != r.Speaks || len(got.Applied) != len(r.Applied) {
			t.Fatalf("%s became %s: %+v, %v", raw, again, got, err)
		}
		for origin, seq := range r.Applied {
			if got.Applied[origin] != seq {
				t.Fatalf("%s became %s", raw, again)
			}
		}
	})
}
