package private_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tokenbroker/internal/private"
)

func TestASecretIsOneLine(t *testing.T) {
	const secret = "0123456789 ábcdef"
	for text, want := range map[string]string{
		secret:                                "",
		secret + "\n":                         "",
		secret + "\r\n":                       "",
		"":                                    "is empty",
		"\n":                                  "is empty",
		"\r\n":                                "is empty",
		"\ufeff" + secret:                     "byte order mark",
		"\ufeff":                              "byte order mark",
		"\xff\xfes\x00":                       "byte order mark",
		"\xfe\xff\x00s":                       "byte order mark",
		secret + "\n\n":                       "more than one line",
		secret + "\r\n\r\n":                   "more than one line",
		secret + "\nsecond\n":                 "more than one line",
		secret + "\r":                         "more than one line",
		"\n" + secret:                         "more than one line",
		secret + "\u2028" + "second":          "more than one line",
		secret + "\xff":                       "not UTF-8",
		"0123\x004567":                        "control character",
		"0123\t4567":                          "control character",
		"0123\x7f":                            "control character",
		secret + "\t":                         "control character",
		" " + secret:                          "begins with a space",
		"\u00a0" + secret:                     "begins with a space",
		secret + " ":                          "ends with a space",
		secret + " \n":                        "ends with a space",
		secret + "\u3000\r\n":                 "ends with a space",
		secret + "\u200b":                     "ends with a space",
		secret + "\ufeff":                     "ends with a space",
		"\u200b" + secret:                     "begins with a space",
		strings.Repeat(secret, 1000) + "\r\n": "",
	} {
		got, err := private.SecretLine(text)
		if want == "" {
			if err != nil || got != strings.TrimRight(text, "\r\n") {
				t.Errorf("%.40q: got %.40q, %v", text, got, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0123") || got != "" {
			t.Errorf("%.40q: got %.40q, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	must(t, os.WriteFile(path, []byte("one\r\n"), 0o640))
	link := filepath.Join(dir, "link") // as Kubernetes mounts a secret
	must(t, os.Symlink("secret", link))
	for _, name := range []string{path, link} {
		if secret, mode, err := private.ReadSecret(name); secret != "one" || mode.Perm() != 0o640 || err != nil {
			t.Errorf("%s: %q, %v, %v", name, secret, mode, err)
		}
	}
	for want, put := range map[string]func(path string) error{
		"begins with a byte order mark": func(path string) error { return os.WriteFile(path, []byte("\ufeffone\n"), 0o600) },
		"is larger than 64 KiB":         func(path string) error { return os.WriteFile(path, make([]byte, 64<<10+1), 0o600) },
		"is a directory":                func(path string) error { return os.Mkdir(path, 0o700) },
		"is not a regular file":         func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"is not a regular file (link)": func(path string) error {
			return os.Symlink(os.DevNull, path)
		},
		"no such file": func(string) error { return nil },
		"permission denied": func(path string) error {
			if os.Geteuid() == 0 { // root can read every file
				return errors.ErrUnsupported
			}
			return os.WriteFile(path, []byte("one"), 0o200)
		},
	} {
		t.Run(want, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := put(path); errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			} else {
				must(t, err)
			}
			secret, _, err := private.ReadSecret(path)
			want, _, _ := strings.Cut(want, " (")
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || secret != "" {
				t.Errorf("%q, error %v, want one with %q and the path", secret, err, want)
			}
		})
	}
}

// A shell opens such a pipe for <(command).
func TestAnInheritedPipeIsRead(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer func() { _ = r.Close() }()
	_, err = w.WriteString("one\n")
	must(t, err)
	must(t, w.Close())
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if secret, _, err := private.ReadSecret(path); secret != "one" || err != nil {
		t.Errorf("%q, %v", secret, err)
	}
	if _, _, err := private.ReadSecret(path); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("the second read: %v", err)
	}
}
