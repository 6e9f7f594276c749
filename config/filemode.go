package config

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
)

// Permissions of users who are neither the owner nor in the group of a file.
const (
	othersRead  = 0o004
	othersWrite = 0o002
)

// fileMode adds a problem for a configuration file that every user of the machine can change, and for one
// that contains secrets and that every user can read.
func (r *reader) fileMode(name string, mode fs.FileMode, l *layer) {
	if !mode.IsRegular() { // the mode of a pipe or a device says nothing
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

// secretMounts are the directories in which container runtimes and systemd put secrets. Other users cannot
// reach the files in them, whatever their mode.
var secretMounts = []string{"/run/secrets/", "/var/run/secrets/", "/run/credentials/"}

// openSecret returns a warning about the mode of a file that contains a secret, or "". The file is used
// nevertheless: orchestrators mount secrets that every user can read into containers that have only one.
func openSecret(name string, mode fs.FileMode) (message, hint string) {
	mounted := func(dir string) bool { return strings.HasPrefix(filepath.Clean(name), dir) }
	if !mode.IsRegular() || mode.Perm()&(othersRead|othersWrite) == 0 || slices.ContainsFunc(secretMounts, mounted) {
		return "", ""
	}
	return fmt.Sprintf("names the file %s, which every user of this machine can read or change (mode %04o)", name, mode.Perm()),
		"run chmod 600 on it (or 0640 and 0440, where the broker reads it by its group); in Kubernetes set defaultMode: 0440 on the volume"
}

// openSecret warns about the mode of the file that a key names.
func (c *checker) openSecret(key, name string, mode fs.FileMode) {
	if message, hint := openSecret(name, mode); message != "" {
		c.warn(key, message, hint)
	}
}
