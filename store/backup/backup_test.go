package backup_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/store"
	"tokenbroker/store/backup"
)

var (
	header = backup.Header{Store: "s1", TakenAt: 1_700_000_000, Wall: 1_700_000_001, Version: "v"}
	writes = []store.Write{
		{Key: "client.a", Value: []byte(`{}`), Blind: true},
		{Key: "once.x", Value: []byte{}, Blind: true, ExpiresAt: 1_800_000_000},
		{Key: "user.b", Value: bytes.Repeat([]byte{0, 1, 255}, 1000), Blind: true},
	}
	errOpener = errors.New("another key")
)

// key is a test double of the KEK, which seals a key with itself.
type key [32]byte

var ours = key{1}

func (k key) aead() cipher.AEAD {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (k key) Seal(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	return k.aead().Seal(nil, nil, plaintext, aad), nil
}

func (k key) Open(_ context.Context, sealed, aad []byte) ([]byte, error) {
	plain, err := k.aead().Open(nil, nil, sealed, aad)
	if err != nil {
		return nil, errOpener
	}
	return plain, nil
}

func written(t testing.TB, seal backup.Sealer, h backup.Header, writes ...store.Write) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := backup.NewWriter(t.Context(), &out, h, seal)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range writes {
		if err := w.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// format1 returns a backup as an earlier version wrote it.
func format1(t testing.TB, writes ...store.Write) []byte {
	t.Helper()
	h := header
	h.Compression = "gzip"
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.NewBufferString("tokenbroker backup 1\n")
	out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(text))))
	out.Write(text)
	zip := gzip.NewWriter(out)
	var body []byte
	for _, r := range writes {
		body = append(binary.AppendUvarint(body, uint64(len(r.Key))), r.Key...)
		body = append(binary.AppendUvarint(body, uint64(len(r.Value))), r.Value...)
		body = binary.AppendUvarint(body, uint64(r.ExpiresAt))
	}
	_, err = zip.Write(binary.AppendUvarint(append(body, 0), uint64(len(writes))))
	if err := errors.Join(err, zip.Close()); err != nil {
		t.Fatal(err)
	}
	return summed(out.Bytes())
}

// summed returns content followed by its digest, which needs no key.
func summed(content []byte) []byte {
	digest := sha256.Sum256(content)
	return append(slices.Clone(content), digest[:]...)
}

// forged returns a file that was changed without the key and has a valid digest.
func forged(whole []byte, change func(content []byte) []byte) []byte {
	return summed(change(slices.Clone(whole[:len(whole)-sha256.Size])))
}

var dir string

func TestMain(m *testing.M) {
	var err error
	if dir, err = os.MkdirTemp("", "tokenbroker-backup-*"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// file replaces the content of the test's file.
func file(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_"))
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// open opens content as a file with the key ours, unless opts has another key.
func open(t testing.TB, content []byte, opts backup.Options) (*backup.File, []store.Write, error) {
	t.Helper()
	if opts.Opener == nil {
		opts.Opener = ours
	}
	var seen []store.Write
	f, err := backup.Open(t.Context(), file(t, content), opts, func(w store.Write) { seen = append(seen, w) })
	if err == nil {
		t.Cleanup(func() { _ = f.Close() })
	}
	return f, seen, err
}

func TestRoundTrip(t *testing.T) {
	for name, want := range map[string][]store.Write{"records": writes, "none": nil} {
		t.Run(name, func(t *testing.T) {
			content := written(t, ours, header, want...)
			f, seen, err := open(t, content, backup.Options{})
			if err != nil {
				t.Fatal(err)
			}
			again := []store.Write(nil)
			if err := f.Each(t.Context(), func(w store.Write) error { again = append(again, w); return nil }); err != nil {
				t.Fatal(err)
			}
			wantSummary := backup.Summary{Header: header, Records: uint64(len(want))}
			wantSummary.Header.Compression = "gzip"
			checked, err := backup.Check(t.Context(), file(t, content))
			if f.Summary != wantSummary || checked != wantSummary || err != nil {
				t.Errorf("%+v, checked %+v, %v", f.Summary, checked, err)
			}
			for _, got := range [][]store.Write{seen, again} {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
			if !f.Authenticated() || len(want) > 0 && bytes.Contains(content, []byte(want[0].Key)) {
				t.Error("the file is not encrypted")
			}
		})
	}
}

// Every file that lacks a byte, or has an additional or changed one, is refused, with or without a key.
func TestIncompleteOrDamagedFilesAreRefused(t *testing.T) {
	whole := written(t, ours, header, writes...)
	refused := func(what string, at int, content []byte) {
		if _, _, err := open(t, content, backup.Options{}); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrFormat1) {
			t.Errorf("%s at %d of %d: %v", what, at, len(whole), err)
		}
		if _, err := backup.Check(t.Context(), file(t, content)); !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrFormat1) {
			t.Errorf("%s at %d of %d, checked: %v", what, at, len(whole), err)
		}
	}
	for i := range whole {
		refused("cut", i, whole[:i])
		changed := slices.Clone(whole)
		changed[i] ^= 0x20
		refused("changed", i, changed)
	}
	refused("longer", len(whole), append(slices.Clone(whole), 0))
	for what, content := range map[string][]byte{
		"out of order": written(t, ours, header, writes[1], writes[0]),
		"twice":        written(t, ours, header, writes[1], writes[1]),
	} {
		if _, _, err := open(t, content, backup.Options{}); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("records %s: %v", what, err)
		}
	}
}

// A file that was changed without the key is refused after any change, even with a valid digest.
func TestAForgedFileIsRefused(t *testing.T) {
	// The values cannot be compressed, so that the body has several chunks.
	large := slices.Clone(writes)
	noise := sha256.Sum256(nil)
	for i := range 8 {
		value := make([]byte, 0, 40<<10)
		for len(value) < cap(value) {
			noise = sha256.Sum256(noise[:])
			value = append(value, noise[:]...)
		}
		large = append(large, store.Write{Key: "user.c" + string(rune('0'+i)), Value: value, Blind: true})
	}
	whole := written(t, ours, header, large...)
	later := header
	later.TakenAt++
	other := written(t, ours, later, large...)
	const records, chunk, tag = 8, 64 << 10, 16
	body := bytes.Index(whole, []byte("age-encryption.org/v1\n"))
	// The payload begins after the stanza, the MAC and a nonce of 16 bytes.
	mac := bytes.Index(whole, []byte("\n--- ")) + 1
	payload := mac + bytes.IndexByte(whole[mac:], '\n') + 1 + 16
	second := payload + chunk + tag
	if body < 0 || second+2*(chunk+tag) > len(whole) {
		t.Fatalf("body at %d, payload at %d of %d", body, payload, len(whole))
	}
	refused := func(t *testing.T, content []byte) {
		t.Helper()
		// Each changed file has a valid digest, otherwise the test would prove nothing about the encryption.
		if _, err := backup.Check(t.Context(), file(t, content)); err != nil && !errors.Is(err, backup.ErrFormat1) {
			t.Fatalf("the forgery is refused because of its digest or its header: %v", err)
		}
		_, _, err := open(t, content, backup.Options{})
		if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, errOpener) && !errors.Is(err, backup.ErrFormat1) {
			t.Errorf("%v", err)
		}
	}
	for name, change := range map[string]func(c []byte) []byte{
		"a time in the header": func(c []byte) []byte {
			return bytes.Replace(c, []byte(`"taken_at":1700000000`), []byte(`"taken_at":1700000009`), 1)
		},
		"the store in the header": func(c []byte) []byte { return bytes.Replace(c, []byte(`"s1"`), []byte(`"s2"`), 1) },
		"the header of another backup": func(c []byte) []byte {
			return append(slices.Clone(other[:bytes.Index(other, []byte("age-encryption"))]), c[body:]...)
		},
		"the key of another backup": func(c []byte) []byte {
			return slices.Concat(c[:body], other[bytes.Index(other, []byte("age-encryption")):payload], c[payload:])
		},
		"the payload of another backup": func(c []byte) []byte { return slices.Concat(c[:payload], other[payload:len(other)-sha256.Size]) },
		"no second chunk":               func(c []byte) []byte { return slices.Delete(c, second, second+chunk+tag) },
		"the second chunk twice":        func(c []byte) []byte { return slices.Insert(c, second, c[second:second+chunk+tag]...) },
		"two chunks in another order": func(c []byte) []byte {
			return slices.Concat(c[:payload], c[second:second+chunk+tag], c[payload:second], c[second+chunk+tag:])
		},
		"a chunk of another backup": func(c []byte) []byte {
			return slices.Concat(c[:second], other[second:second+chunk+tag], c[second+chunk+tag:])
		},
		"cut at the end of a chunk": func(c []byte) []byte { return slices.Concat(c[:second], c[len(c)-records:]) },
		"cut within a chunk":        func(c []byte) []byte { return slices.Concat(c[:second+100], c[len(c)-records:]) },
		"a byte behind the payload": func(c []byte) []byte { return slices.Insert(c, len(c)-records, 0) },
		"another number of records": func(c []byte) []byte { c[len(c)-1]++; return c },
		"a second stanza":           func(c []byte) []byte { return slices.Insert(c, mac, []byte("-> tokenbroker-kek\nAAAA\n")...) },
		"an argument of the stanza": func(c []byte) []byte {
			return bytes.Replace(c, []byte("-> tokenbroker-kek\n"), []byte("-> tokenbroker-kek x\n"), 1)
		},
		"another kind of stanza": func(c []byte) []byte {
			return bytes.Replace(c, []byte("-> tokenbroker-kek\n"), []byte("-> tokenbroker-foo\n"), 1)
		},
		"another format": func(c []byte) []byte {
			return bytes.Replace(c, []byte("tokenbroker backup 2\n"), []byte("tokenbroker backup 1\n"), 1)
		},
		"no encryption": func(c []byte) []byte {
			plain := format1(t, writes...)
			return slices.Concat(c[:body], plain[bytes.IndexByte(plain, 0x1f):len(plain)-sha256.Size], c[len(c)-records:])
		},
	} {
		t.Run(name, func(t *testing.T) { refused(t, forged(whole, change)) })
	}
	t.Run("every byte", func(t *testing.T) {
		small := written(t, ours, header, writes...)
		for i := len("tokenbroker backup 2\n") + 4; i < len(small)-sha256.Size; i++ {
			content := forged(small, func(c []byte) []byte { c[i] ^= 0x20; return c })
			_, _, err := open(t, content, backup.Options{})
			if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, errOpener) {
				t.Errorf("byte %d of %d: %v", i, len(small), err)
			}
		}
	})
	t.Run("another key", func(t *testing.T) {
		if _, seen, err := open(t, written(t, key{2}, header, writes...), backup.Options{}); !errors.Is(err, errOpener) || len(seen) > 0 {
			t.Errorf("%v, %d records", err, len(seen))
		}
	})
}

// An age header of any length is not read into memory, nor is its last line.
func TestAnEndlessAgeHeaderIsRefused(t *testing.T) {
	whole := written(t, ours, header, writes...)
	for before, endless := range map[string]string{"-> ": strings.Repeat("-> x\n\n", 2000), "\n--- ": "\n--- " + strings.Repeat("A", 12000)} {
		content := forged(whole, func(c []byte) []byte { return slices.Insert(c, bytes.Index(c, []byte(before)), []byte(endless)...) })
		if _, _, err := open(t, content, backup.Options{}); !errors.Is(err, backup.ErrDamaged) || !strings.Contains(err.Error(), "no encrypted body") {
			t.Errorf("%v", err)
		}
	}
}

// Format 1 is read only if the caller asks for it, and is reported as not authenticated.
func TestFormat1(t *testing.T) {
	old := format1(t, writes...)
	if _, seen, err := open(t, old, backup.Options{}); !errors.Is(err, backup.ErrFormat1) || len(seen) > 0 {
		t.Errorf("%v, %d records", err, len(seen))
	}
	if _, err := backup.Check(t.Context(), file(t, old)); !errors.Is(err, backup.ErrFormat1) {
		t.Errorf("checked: %v", err)
	}
	f, seen, err := open(t, old, backup.Options{InsecureFormat1: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(writes, seen); diff != "" || f.Records != 3 || f.Authenticated() {
		t.Errorf("%d records, authenticated %t: %s", f.Records, f.Authenticated(), diff)
	}
	for i := range old {
		if _, _, err := open(t, old[:i], backup.Options{InsecureFormat1: true}); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	// Format 2 is authenticated in any case.
	content := forged(written(t, ours, header, writes...), func(c []byte) []byte {
		return bytes.Replace(c, []byte(`"s1"`), []byte(`"s2"`), 1)
	})
	if _, _, err := open(t, content, backup.Options{InsecureFormat1: true}); !errors.Is(err, errOpener) {
		t.Errorf("%v", err)
	}
}

// A pipe without a writer is refused at once: no signal would interrupt the wait for it.
func TestAPipeIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("making a pipe: ", err)
	}
	if _, err := backup.Open(t.Context(), path, backup.Options{Opener: ours}, func(store.Write) {}); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

func TestACancelledReadEnds(t *testing.T) {
	path := file(t, written(t, ours, header, writes...))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := backup.Check(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestRecordsThatAreTooLargeAreNotWritten(t *testing.T) {
	w, err := backup.NewWriter(t.Context(), &bytes.Buffer{}, header, ours)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]store.Write{
		"no key": {}, "a long key": {Key: string(make([]byte, 1025))},
		"a long value": {Key: "k", Value: make([]byte, 8<<20+1)}, "a negative expiry": {Key: "k", ExpiresAt: -1},
	} {
		if err := w.Add(r); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if w.Records() != 0 {
		t.Errorf("%d records", w.Records())
	}
}

// FuzzOpen changes files that have valid digests: only records that were written are read from a
// file of format 2, and no input causes a panic.
func FuzzOpen(f *testing.F) {
	whole, old := written(f, ours, header, writes...), format1(f, writes...)
	for _, content := range [][]byte{whole, old, written(f, ours, header)} {
		f.Add(content[:len(content)-sha256.Size])
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		_, seen, err := open(t, summed(content), backup.Options{})
		if err == nil {
			if len(seen) > 0 && !cmp.Equal(writes, seen) {
				t.Error("records are read that were not written")
			}
		} else if !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, backup.ErrFormat1) && !errors.Is(err, errOpener) {
			t.Error(err)
		}
		_, _, err = open(t, summed(content), backup.Options{InsecureFormat1: true})
		if err != nil && !errors.Is(err, backup.ErrDamaged) && !errors.Is(err, errOpener) {
			t.Error(err)
		}
	})
}
