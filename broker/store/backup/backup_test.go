package backup_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tokenbroker/broker/store"
	"tokenbroker/broker/store/backup"
)

var (
	header = backup.Header{Store: "s1", TakenAt: 1_700_000_000, Wall: 1_700_000_001, Version: "v"}
	writes = []store.Write{
		{Key: "client.a", Value: []byte(`{}`), Blind: true},
		{Key: "once.x", Value: []byte{}, Blind: true, ExpiresAt: 1_800_000_000},
		{Key: "user.b", Value: bytes.Repeat([]byte{0, 1, 255}, 1000), Blind: true},
	}
)

func written(t *testing.T, writes ...store.Write) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := backup.NewWriter(&out, header)
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

// open opens content as a file.
func open(t *testing.T, content []byte) (*backup.File, []store.Write, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "backup")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var seen []store.Write
	f, err := backup.Open(t.Context(), path, func(w store.Write) { seen = append(seen, w) })
	if err == nil {
		t.Cleanup(func() { _ = f.Close() })
	}
	return f, seen, err
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for name, want := range map[string][]store.Write{"records": writes, "none": nil} {
		t.Run(name, func(t *testing.T) {
			f, seen, err := open(t, written(t, want...))
			if err != nil {
				t.Fatal(err)
			}
			again := []store.Write(nil)
			if err := f.Each(t.Context(), func(w store.Write) error { again = append(again, w); return nil }); err != nil {
				t.Fatal(err)
			}
			wantHeader := header
			wantHeader.Compression = "gzip"
			if f.Header != wantHeader || f.Records != uint64(len(want)) {
				t.Errorf("%+v, %d records", f.Header, f.Records)
			}
			for _, got := range [][]store.Write{seen, again} {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Every file that lacks a byte, has one more or another one is refused.
func TestWhatIsNotWholeIsRefused(t *testing.T) {
	whole := written(t, writes...)
	refused := func(what string, at int, content []byte) {
		if _, _, err := open(t, content); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%s at %d of %d: %v", what, at, len(whole), err)
		}
	}
	for i := range whole {
		refused("cut", i, whole[:i])
		changed := slices.Clone(whole)
		changed[i] ^= 0x20
		refused("changed", i, changed)
	}
	refused("longer", len(whole), append(slices.Clone(whole), 0))
	refused("out of order", 0, written(t, writes[1], writes[0]))
	refused("twice", 0, written(t, writes[1], writes[1]))
}

// A pipe that nobody writes to is refused at once: no signal would end the wait for it.
func TestAPipeIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("making a pipe: ", err)
	}
	if _, err := backup.Open(t.Context(), path, func(store.Write) {}); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("%v", err)
	}
}

func TestWhatDoesNotFitIsNotWritten(t *testing.T) {
	w, err := backup.NewWriter(&bytes.Buffer{}, header)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]store.Write{
		"no key": {}, "a long key": {Key: string(make([]byte, 1025))},
		"a long value": {Key: "k", Value: make([]byte, 8<<20+1)}, "a negative expiry": {Key: "k", ExpiresAt: -1},
	} {
		if err := w.Add(r); err == nil {
			t.Errorf("%s is written", name)
		}
	}
	if w.Records() != 0 {
		t.Errorf("%d records", w.Records())
	}
}

func FuzzOpen(f *testing.F) {
	var out bytes.Buffer
	w, _ := backup.NewWriter(&out, header)
	_ = w.Close()
	f.Add(out.Bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		if _, _, err := open(t, content); err != nil && !errors.Is(err, backup.ErrDamaged) {
			t.Error(err)
		}
	})
}
