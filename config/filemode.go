package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Rights of users who are neither the owner nor in the group of a file.
const (
	othersRead  = 0o004
	othersWrite = 0o002
)

// fileMode refuses a configuration file that every user of the machine can change, and one
// that holds secrets and that every user can read.
func (r *reader) fileMode(name string, mode fs.FileMode, l *layer) {
	if !mode.IsRegular() { // a pipe or a device is its opener's
		return
	}
	if perm := mode.Perm(); perm&othersWrite != 0 {
		r.report(nil, name, fmt.Sprintf("can be changed by every user of this machine (mode %04o)", perm), "run chmod o-w on it, and read it through")
	} else if perm&othersRead != 0 && len(l.inline) > 0 {
		key := slices.Min(l.inline)
		r.problems = append(r.problems, Problem{
			Key: key, Source: l.sources[key],
			Message: fmt.Sprintf("is a secret in a file that every user of this machine can read (mode %04o)", perm),
			Hint: fmt.Sprintf("run chmod 600 on the file (or 0640 and 0440, where the broker reads it by its group) and consider the secrets in it known (%d); "+
				"or keep each in a file of its own: %s%s", len(l.inline), key, fileSuffix),
		})
	}
}

// secretMounts are the directories in which container runtimes and systemd put secrets: what
// is there is out of reach for other users, whatever its mode.
var secretMounts = []string{"/run/secrets/", "/var/run/secrets/", "/run/credentials/"}

// openSecret says what is inadvisable about the mode of a secret's file; "" means nothing.
// Such a file is used all the same: orchestrators mount secrets readable by everybody into
// containers in which there is only one user.
func openSecret(name string, mode fs.FileMode) (message, hint string) {
	mounted := func(dir string) bool { return strings.HasPrefix(filepath.Clean(name), dir) }
	if !mode.IsRegular() || mode.Perm()&(othersRead|othersWrite) == 0 || slices.ContainsFunc(secretMounts, mounted) {
		return "", ""
	}
	return fmt.Sprintf("names the file %s, which every user of this machine can read or change (mode %04o)", name, mode.Perm()),
		"run chmod 600 on it (or 0640 and 0440, where the broker reads it by its group); in Kubernetes give the volume defaultMode: 0440"
}

// openSecret warns of the file that a key names.
func (c *checker) openSecret(key, name string, mode fs.FileMode) {
	if message, hint := openSecret(name, mode); message != "" {
		c.warn(key, message, hint)
	}
}
