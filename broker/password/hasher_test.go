package password_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenbroker/broker/password"
)

var weak = password.Params{Memory: 8, Time: 1, Threads: 1}

func TestHashAndVerify(t *testing.T) {
	h := password.New(weak, 0, 0, 0)
	encoded, err := h.Hash(t.Context(), "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		password string
		ok       bool
	}{
		"the right one":       {"correct horse", true},
		"another":             {"correct horsf", false},
		"a prefix":            {"correct hors", false},
		"with a trailing NUL": {"correct horse\x00", false},
		"empty":               {"", false},
		"too long":            {strings.Repeat("x", password.MaxLength+1), false},
	} {
		t.Run(name, func(t *testing.T) {
			ok, rehash, err := h.Verify(t.Context(), password.Caller{}, c.password, encoded)
			if ok != c.ok || rehash || err != nil {
				t.Errorf("Verify = %v, %v, %v; want %v", ok, rehash, err, c.ok)
			}
		})
	}
	again, err := h.Hash(t.Context(), "correct horse")
	if err != nil || again == encoded {
		t.Errorf("the same password hashed twice returns the same string (%v)", err)
	}
}

func TestNeedsRehashAfterTheParametersChanged(t *testing.T) {
	encoded, err := password.New(weak, 0, 0, 0).Hash(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]password.Params{
		"memory":  {Memory: 16, Time: 1, Threads: 1},
		"time":    {Memory: 8, Time: 2, Threads: 1},
		"threads": {Memory: 16, Time: 1, Threads: 2},
	} {
		t.Run(name, func(t *testing.T) {
			h := password.New(p, 0, 0, 0)
			if ok, rehash, err := h.Verify(t.Context(), password.Caller{}, "p", encoded); !ok || !rehash || err != nil {
				t.Errorf("right password: %v, %v, %v; want true, true", ok, rehash, err)
			}
			if ok, rehash, err := h.Verify(t.Context(), password.Caller{}, "q", encoded); ok || rehash || err != nil {
				t.Errorf("wrong password: %v, %v, %v; want false, false", ok, rehash, err)
			}
		})
	}
}

// The vector was made with the reference implementation of argon2 (see its test.c): password
// "password", salt "somesalt", t=2, m=65536 and m=256, p=1 and p=2, version 0x13.
func TestReferenceVectors(t *testing.T) {
	h := password.New(weak, 0, 0, 0)
	for _, encoded := range []string{
		"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
	} {
		if ok, rehash, err := h.Verify(t.Context(), password.Caller{}, "password", encoded); !ok || !rehash || err != nil {
			t.Errorf("%s: %v, %v, %v", encoded, ok, rehash, err)
		}
	}
}

func TestLengthLimits(t *testing.T) {
	h := password.New(weak, 0, 0, 0)
	for n, want := range map[int]error{0: password.ErrLength, 1: nil, 1024: nil, 1025: password.ErrLength} {
		if _, err := h.Hash(t.Context(), strings.Repeat("x", n)); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestDamagedHashIsAnErrorAndNeverShown(t *testing.T) {
	const good = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	h := password.New(weak, 0, 0, 0)
	if _, _, err := h.Verify(t.Context(), password.Caller{}, "x", good); err != nil {
		t.Fatalf("the valid hash: %v", err)
	}
	replace := func(old, with string) string { return strings.Replace(good, old, with, 1) }
	for name, encoded := range map[string]string{
		"empty":                     "",
		"other algorithm":           replace("argon2id", "argon2i"),
		"other version":             replace("v=19", "v=16"),
		"no version":                replace("$v=19", ""),
		"other order":               replace("m=8,t=1", "t=1,m=8"),
		"leading zero":              replace("m=8", "m=08"),
		"plus sign":                 replace("m=8", "m=+8"),
		"more parameters":           replace("p=1", "p=1,keyid=a"),
		"all zero":                  replace("m=8,t=1,p=1", "m=0,t=0,p=0"),
		"no threads":                replace("p=1", "p=0"),
		"no passes":                 replace("t=1", "t=0"),
		"too little memory":         replace("m=8", "m=7"),
		"too much memory":           replace("m=8", "m=262145"),
		"memory overflows":          replace("m=8", "m=4294967304"),
		"too many passes":           replace("t=1", "t=17"),
		"too many threads":          replace("m=8,t=1,p=1", "m=800,t=1,p=17"),
		"padding":                   replace("c29tZXNhbHQ", "c29tZXNhbHQ="),
		"new line in base64":        replace("c29tZXNhbHQ", "c29t\nZXNhbHQ"),
		"other last character":      replace("c29tZXNhbHQ", "c29tZXNhbHR"),
		"short salt":                replace("c29tZXNhbHQ", "c29tZXM"),
		"short key":                 replace("nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "nf65EOgLrQMR"),
		"text before the hash":      "x" + good,
		"text after the hash":       good + "$",
		"a new line after the hash": good + "\n",
		"very long":                 replace("nf65", strings.Repeat("nf65", 1000)),
		"a hash of django's":        "argon2" + good,
		"a password in plain":       "hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			ok, rehash, err := h.Verify(t.Context(), password.Caller{}, "hunter2", encoded)
			if ok || rehash || !errors.Is(err, password.ErrFormat) {
				t.Fatalf("%v, %v, %v; want ErrFormat", ok, rehash, err)
			}
			if s := err.Error(); strings.Contains(s, "hunter2") || len(encoded) > 0 && strings.Contains(s, encoded) {
				t.Errorf("the error shows a secret: %s", s)
			}
		})
	}
}

func TestConcurrencyIsBounded(t *testing.T) {
	encoded, err := password.New(weak, 0, 0, 0).Hash(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(context.Context, *password.Hasher) error{
		"Hash": func(ctx context.Context, h *password.Hasher) error { _, err := h.Hash(ctx, "p"); return err },
		"Verify": func(ctx context.Context, h *password.Hasher) error {
			ok, _, err := h.Verify(ctx, password.Caller{}, "p", encoded)
			if err == nil && !ok {
				return errors.New("wrong answer")
			}
			return err
		},
		"VerifyUnknown": func(ctx context.Context, h *password.Hasher) error {
			return h.VerifyUnknown(ctx, password.Caller{}, "p")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := password.New(weak, 2, 1, 0)
				release := h.Hold()
				defer h.Hold()()
				waits := make(chan error, 1)
				go func() { waits <- call(t.Context(), h) }()
				synctest.Wait()
				if h.Waiting() != 1 {
					t.Fatalf("%d wait, want 1: both slots are taken", h.Waiting())
				}
				if err := call(t.Context(), h); !errors.Is(err, password.ErrBusy) {
					t.Errorf("beyond the queue: %v, want ErrBusy", err)
				}
				release()
				if err := <-waits; err != nil {
					t.Errorf("the waiting one: %v", err)
				}
			})
		})
		t.Run(name+" ends with its context", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := password.New(weak, 1, 1, 0)
				release := h.Hold()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := call(ctx, h); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("while waiting: %v", err)
				}
				release()
				if err := call(ctx, h); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("with a free slot: %v", err)
				}
				if err := call(t.Context(), h); err != nil || h.Waiting() != 0 {
					t.Errorf("afterwards: %v, %d waiting", err, h.Waiting())
				}
			})
		})
	}
}

func TestVerifyUnknownCostsTheSame(t *testing.T) {
	h := password.New(password.Params{Memory: 8 * 1024, Time: 2, Threads: 1}, 0, 0, 0)
	encoded, err := h.Hash(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	// The memory dominates the cost, and can be compared without measuring time.
	known := allocated(func() { _, _, _ = h.Verify(t.Context(), password.Caller{}, "q", encoded) })
	unknown := allocated(func() { _ = h.VerifyUnknown(t.Context(), password.Caller{}, "q") })
	if unknown < known*9/10 || unknown > known*11/10 || known < 8<<20 {
		t.Errorf("unknown users take %d bytes, known ones %d", unknown, known)
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestParams(t *testing.T) {
	for name, c := range map[string]struct {
		p  password.Params
		ok bool
	}{
		"zero is the default": {password.Params{}, true},
		"default":             {password.DefaultParams, true},
		"no time":             {password.Params{Memory: 8, Threads: 1}, false},
		"no threads":          {password.Params{Memory: 8, Time: 1}, false},
		"no memory":           {password.Params{Time: 1, Threads: 1}, false},
		"8 KiB a thread":      {password.Params{Memory: 15, Time: 1, Threads: 2}, false},
		"too much":            {password.Params{Memory: 1 << 30, Time: 1, Threads: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.p.Validate()
			if (err == nil) != c.ok || err != nil && !errors.Is(err, password.ErrParams) {
				t.Errorf("Validate = %v", err)
			}
		})
	}
}

func TestDefaultParamsAreAsDocumented(t *testing.T) {
	encoded, err := password.New(password.Params{}, 1, 0, 0).Hash(t.Context(), "p")
	if err != nil || !strings.HasPrefix(encoded, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%v", err)
	}
}

func BenchmarkVerify(b *testing.B) {
	h := password.New(password.Params{}, 0, 1000, 0)
	encoded, err := h.Hash(b.Context(), "p")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, _, err := h.Verify(b.Context(), password.Caller{}, "p", encoded); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// Callers in a slow queue are refused before their contexts end.
func TestWaitingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = 2 * time.Second
		h := password.New(weak, 1, 10, wait)
		release := h.Hold()
		began := time.Now()
		if _, err := h.Hash(t.Context(), "p"); !errors.Is(err, password.ErrBusy) || time.Since(began) != wait {
			t.Errorf("%v after %v, want ErrBusy after %v", err, time.Since(began), wait)
		}
		if h.Waiting() != 0 {
			t.Errorf("%d wait", h.Waiting())
		}
		time.AfterFunc(wait-time.Millisecond, release)
		if _, err := h.Hash(t.Context(), "p"); err != nil {
			t.Errorf("in time: %v", err)
		}
	})
}
