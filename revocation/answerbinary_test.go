package revocation_test

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tokenbroker/revocation"
)

// sealed appends the end of the binary form, with its checksum, to hand-made bytes.
func sealed(body []byte, count uint64) []byte {
	b := binary.AppendUvarint(append(bytes.Clone(body), 0), count)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// unsealed removes the end of a golden answer.
func unsealed(t testing.TB, name string) []byte {
	b := encoded(t, revocation.FormBinary, answers[name])
	return b[:len(b)-6]
}

// refused are answers that a service must refuse, by their fault.
func refused(t testing.TB) map[string][]byte {
	nothing := unsealed(t, "nothing")
	event := func(b ...byte) []byte { return sealed(append(bytes.Clone(nothing), b...), 1) }
	head := func(old, replacement string) []byte {
		if !bytes.Contains(nothing, []byte(old)) {
			t.Fatalf("%x does not hold %x", nothing, old)
		}
		return sealed(bytes.Replace(nothing, []byte(old), []byte(replacement), 1), 0)
	}
	good := encoded(t, revocation.FormBinary, answers["delta"])
	damaged := bytes.Clone(good)
	damaged[len(damaged)-20] ^= 1
	return map[string][]byte{
		"nothing_at_all":         {},
		"another_magic":          head("TBR", "TBX"),
		"another_version":        head("TBR\x01", "TBR\x02"),
		"no_store":               head("\x02s1", "\x00"),
		"a_dotted_origin":        head("\x02o1", "\x02o."),
		"an_origin_too_long":     head("\x02o1", "\x41"+strings.Repeat("o", 65)),
		"an_unknown_flag":        head("\x00\x01\x02o1\x08", "\x02\x01\x02o1\x08"),
		"no_origins":             head("\x00\x01\x02o1\x08", "\x00\x00"),
		"not_listed_itself":      head("\x00\x01\x02o1\x08", "\x00\x01\x02o2\x08"),
		"too_many_origins":       head("\x00\x01\x02o1\x08", "\x00\xff\xff\xff\x7f\x02o1\x08"),
		"1025_origins":           head("\x00\x01\x02o1\x08", "\x00\x81\x08"+strings.Repeat("\x02o1\x08", 1025)),
		"a_head_beyond_2^53":     head("o1\x08", "o1\x80\x80\x80\x80\x80\x80\x80\x10"),
		"a_padded_number":        head("o1\x08", "o1\x88\x00"),
		"a_number_of_11_bytes":   head("o1\x08", "o1\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
		"a_number_over_64_bits":  head("o1\x08", "o1\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
		"more_keys_than_bytes":   sealed(append(bytes.Clone(nothing[:len(nothing)-1]), 0xff, 0xff, 0x03), 0),
		"an_unknown_kind":        event(0x07, 1, 1, 'x', 0, 0),
		"a_kind_of_zero":         event(0x10, 1, 1, 'x', 0, 0, 1),
		"an_unknown_bit":         event(0x23, 1, 1, 'x', 0, 0),
		"an_unknown_reason":      event(0x03, 11, 1, 'x', 0, 0),
		"a_numbered_reason_text": event(0x03, 0, 6, 'l', 'o', 'g', 'o', 'f', 'f', 1, 'x', 0, 0),
		"a_reason_not_utf8":      event(0x03, 0, 1, 0xff, 1, 'x', 0, 0),
		"a_value_not_utf8":       event(0x03, 1, 1, 0xff, 0, 0),
		"no_value":               event(0x03, 1, 0, 0, 0),
		"a_packed_sub":           event(append([]byte{0x0b, 1}, make([]byte, 18)...)...),
		"a_sid_text_that_packs":  event(append(append([]byte{0x02, 1, 26}, goldenSID...), 0, 0)...),
		"a_jti_text_that_packs":  event(append(append([]byte{0x01, 1, 36}, goldenJTI...), 0, 0)...),
		"a_negative_time":        event(0x03, 1, 1, 'x', 1, 0),
		"ends_before_1970":       event(0x03, 1, 1, 'x', 0, 1),
		"a_time_too_far":         event(0x03, 1, 1, 'x', 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x04, 0),
		"an_epoch_of_zero":       event(0x13, 1, 1, 'x', 0, 0, 0),
		"an_epoch_over_2^63":     event(append([]byte{0x13, 1, 1, 'x', 0, 0}, binary.AppendUvarint(nil, 1<<63)...)...),
		"a_huge_text":            event(append([]byte{0x03, 1}, binary.AppendUvarint(nil, revocation.MaxBatchBytes+1)...)...),
		"one_event_less":         sealed(nothing, 1),
		"one_event_more":         sealed(append(bytes.Clone(nothing), 0x06, 1, 0, 0), 0),
		"damaged":                damaged,
		"cut_before_the_end":     good[:len(good)-6],
		"cut_in_the_checksum":    good[:len(good)-1],
		"more_after_it":          append(bytes.Clone(good), 0),
		"json":                   encoded(t, revocation.FormJSON, answers["delta"]),
	}
}

func TestBinaryAnswersThatAreRefused(t *testing.T) {
	if _, err := revocation.DecodeBinaryAnswer(bytes.NewReader(sealed(append(unsealed(t, "nothing"), 0x03, 1, 1, 'x', 0, 0), 1))); err != nil {
		t.Fatalf("the hand-made answer is good: %v", err)
	}
	for name, b := range refused(t) {
		t.Run(name, func(t *testing.T) {
			checkGolden(t, filepath.Join("answer", "refused", strings.ReplaceAll(name, "^", "_")+".bin"), b)
			a, err := revocation.DecodeBinaryAnswer(bytes.NewReader(b))
			if err == nil {
				t.Fatalf("taken: %+v", a)
			}
			if kind := name == "an_unknown_kind" || name == "a_kind_of_zero" || name == "an_unknown_bit"; errors.Is(err, revocation.ErrUnknownKind) != kind {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	b := encoded(t, revocation.FormBinary, answers["full"])
	for n := range b {
		if _, err := revocation.DecodeBinaryAnswer(bytes.NewReader(b[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", n, len(b), err)
		}
	}
	broken := errors.New("the connection broke")
	r := io.MultiReader(bytes.NewReader(b[:40]), iotest.ErrReader(broken))
	if _, err := revocation.DecodeBinaryAnswer(r); !errors.Is(err, broken) {
		t.Errorf("the reader's own error: %v", err)
	}
}

func TestEveryChangedBitIsAnError(t *testing.T) {
	b := encoded(t, revocation.FormBinary, answers["full"])
	for i := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if a, err := revocation.DecodeBinaryAnswer(bytes.NewReader(bad)); err == nil {
			t.Fatalf("bit %d: %+v", i, a)
		}
	}
}

// A false length must not cost memory.
func TestTextIsNotAllocatedByItsStatedLength(t *testing.T) {
	lying := append(unsealed(t, "nothing"), 0x03, 1)
	lying = binary.AppendUvarint(lying, revocation.MaxBatchBytes)
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := revocation.DecodeBinaryAnswer(bytes.NewReader(lying)); err == nil {
				b.Fatal("taken")
			}
		}
	}).AllocedBytesPerOp()
	if got > 80<<10 { // its buffer has 64 KiB
		t.Errorf("%d bytes allocated", got)
	}
}

// TestAnAnswerOfManyOrigins encodes and decodes the most origins that an answer may list.
func TestAnAnswerOfManyOrigins(t *testing.T) {
	a := *answers["nothing"]
	for i := range revocation.MaxOrigins - 1 {
		a.Origins = append(a.Origins, revocation.OriginHead{Origin: fmt.Sprint("x", i), Head: uint64(i)})
	}
	for _, as := range []revocation.Form{revocation.FormJSON, revocation.FormBinary} {
		decode := revocation.DecodeAnswer
		if as == revocation.FormBinary {
			decode = revocation.DecodeBinaryAnswer
		}
		got, err := decode(bytes.NewReader(encoded(t, as, &a)))
		if diff := cmp.Diff(&a, got); err != nil || diff != "" {
			t.Error(as, err, diff)
		}
	}
}

func TestEncodeAnswerRefusesInvalidAnswers(t *testing.T) {
	for name, change := range map[string]func(*revocation.Answer){
		"1,025 origins": func(a *revocation.Answer) {
			a.Origins = slices.Repeat(a.Origins, revocation.MaxOrigins+1)
		},
		"another version":  func(a *revocation.Answer) { a.V = 2 },
		"not listed":       func(a *revocation.Answer) { a.Origins = nil },
		"a negative clock": func(a *revocation.Answer) { a.AtMS = -1 },
		"an unknown kind":  func(a *revocation.Answer) { a.Events = []revocation.Event{{Kind: "new", Value: "x"}} },
		"a negative time":  func(a *revocation.Answer) { a.Events = []revocation.Event{{Kind: "sub", Value: "x", At: -1}} },
	} {
		for _, as := range []revocation.Form{revocation.FormJSON, revocation.FormBinary} {
			a := *answers["nothing"]
			change(&a)
			if err := revocation.EncodeAnswer(io.Discard, as, &a); err == nil {
				t.Errorf("%s: %s is written", as, name)
			}
			b := revocation.NewAnswerBuilder(as)
			err := b.Add(a.Events...)
			if err == nil {
				_, err = b.Finish(a)
			}
			if err == nil {
				t.Errorf("%s: %s is built", as, name)
			}
		}
	}
	bad := revocation.Event{Kind: "sub", Value: "\xff"}
	if err := revocation.NewAnswerBuilder(revocation.FormBinary).Add(bad); err == nil {
		t.Error("a value that is not UTF-8 is packed")
	}
}

// A record of a session or token takes at most 30 bytes, regardless of the order of the times.
func TestTheSizeOfAnEvent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n = 1000
	a := *answers["nothing"]
	empty := len(encoded(t, revocation.FormBinary, &a))
	encoding := base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
	for i := range n {
		var data [16]byte
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		e := revocation.Event{Kind: revocation.KindSID, Value: encoding.EncodeToString(data[:]), Reason: revocation.ReasonRestore}
		if i%2 == 1 {
			e.Kind, e.Value = revocation.KindJTI, fmt.Sprintf("%x-%x-%x-%x-%x", data[:4], data[4:6], data[6:8], data[8:10], data[10:])
		}
		if i%4 > 1 { // the worst: to and fro between 1970 and 2242
			e.At = 1<<33 - 1
		}
		e.ExpiresAt = 1<<33 - 1
		a.Events = append(a.Events, e)
	}
	if per := float64(len(encoded(t, revocation.FormBinary, &a))-empty) / n; per > 30 {
		t.Errorf("%.1f bytes an event", per)
	}
	for i := range a.Events { // as they are: a month of sign-offs in the order of their ids
		a.Events[i].At = 1_700_000_000 + r.Int64N(30*24*3600)
		a.Events[i].ExpiresAt = a.Events[i].At + 900
	}
	per := float64(len(encoded(t, revocation.FormBinary, &a))-empty) / n
	t.Logf("%.1f bytes an event", per)
	if per > 25 {
		t.Errorf("%.1f bytes an event", per)
	}
}

func drawAnswer(t *rapid.T) *revocation.Answer {
	name := rapid.StringMatching(`[a-z2-7]{1,64}`)
	millis := rapid.Int64Range(0, 1<<43)
	times := rapid.OneOf(millis, rapid.Int64Range(1_700_000_000, 1_702_592_000))
	text := rapid.StringN(1, 80, 200)
	a := &revocation.Answer{
		V: 1, Store: name.Draw(t, "store"), Origin: name.Draw(t, "origin"), Full: rapid.Bool().Draw(t, "full"),
		Up: millis.Draw(t, "up"), AtMS: millis.Draw(t, "at_ms"), TimeFloor: millis.Draw(t, "floor"),
		Kids: rapid.SliceOf(rapid.String()).Draw(t, "kids"), Events: []revocation.Event{},
	}
	a.Origins = []revocation.OriginHead{{Origin: a.Origin, Head: rapid.Uint64Range(0, revocation.MaxSeq).Draw(t, "head")}}
	values := map[revocation.Kind]*rapid.Generator[string]{
		revocation.KindJTI:    rapid.OneOf(text, rapid.StringMatching(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)),
		revocation.KindSID:    rapid.OneOf(text, rapid.StringMatching(`[a-z2-7]{26}`)),
		revocation.KindSub:    text,
		revocation.KindClient: text,
		revocation.KindKID:    text,
		revocation.KindAll:    rapid.Just(""),
	}
	reasons := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"logoff", "reuse", "restore", "key_compromise"}))
	for range rapid.IntRange(0, 20).Draw(t, "events") {
		kind := rapid.SampledFrom([]revocation.Kind{"jti", "sid", "sub", "client", "kid", "all"}).Draw(t, "kind")
		a.Events = append(a.Events, revocation.Event{
			Kind: kind, Value: values[kind].Draw(t, "value"), At: times.Draw(t, "at"), ExpiresAt: times.Draw(t, "end"),
			Reason: revocation.Reason(reasons.Draw(t, "reason")), Epoch: rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, math.MaxInt64)).Draw(t, "epoch"),
		})
	}
	return a
}

// TestAnswersRoundTrip checks that encoding at once and piece by piece produces the same bytes, and that
// they decode to the original, in pieces of any size.
func TestAnswersRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAnswer(t)
		for _, as := range []revocation.Form{revocation.FormJSON, revocation.FormBinary} {
			var b bytes.Buffer
			if err := revocation.EncodeAnswer(&b, as, a); err != nil {
				t.Fatal(err)
			}
			builder := revocation.NewAnswerBuilder(as)
			for _, e := range a.Events {
				if err := builder.Add(e); err != nil {
					t.Fatal(err)
				}
			}
			built, err := builder.Finish(*a)
			if err != nil {
				t.Fatal(err)
			}
			var again bytes.Buffer
			if n, err := built.WriteTo(&again); err != nil || n != built.Size() || !bytes.Equal(again.Bytes(), b.Bytes()) {
				t.Fatalf("built %d of %d bytes, %v: %q, not %q", n, built.Size(), err, again.Bytes(), b.Bytes())
			}
			decode := revocation.DecodeAnswer
			if as == revocation.FormBinary {
				decode = revocation.DecodeBinaryAnswer
			}
			got, err := decode(iotest.OneByteReader(built.Reader()))
			if diff := cmp.Diff(a, got); err != nil || diff != "" {
				t.Fatal(err, diff)
			}
		}
	})
}

// FuzzDecodeBinaryAnswer checks that no input panics, and that an accepted answer has no other encoding.
func FuzzDecodeBinaryAnswer(f *testing.F) {
	for name := range answers {
		f.Add(encoded(f, revocation.FormBinary, answers[name]), false)
		f.Add(unsealed(f, name), true)
	}
	files, err := filepath.Glob("testdata/answer/refused/*.bin")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
	}
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal { // so that the fuzzer need not find the checksum
			for count := range uint64(8) {
				fuzzed(t, sealed(b, count))
			}
			return
		}
		fuzzed(t, b)
	})
}

func fuzzed(t *testing.T, b []byte) {
	a, err := revocation.DecodeBinaryAnswer(bytes.NewReader(b))
	if err != nil {
		return
	}
	if again := encoded(t, revocation.FormBinary, a); !bytes.Equal(again, b) {
		t.Fatalf("%x is taken, but written as %x", b, again)
	}
	text := encoded(t, revocation.FormJSON, a)
	fromJSON, err := revocation.DecodeAnswer(bytes.NewReader(text))
	if diff := cmp.Diff(a, fromJSON); err != nil || diff != "" {
		t.Fatal("the JSON form says something else", err, diff)
	}
}
