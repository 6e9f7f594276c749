package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// secretFiles are the files in the data directory that hold secrets, if they are there.
var secretFiles = []string{"kek", "nats-services", "admin-token", "tokenbroker.lock", "store", "admin"}

// modes looks who can read what holds secrets, and repeats what loading the configuration
// warned of.
func modes(_ context.Context, s Subject) []Finding {
	const name = "file modes"
	var found []Finding
	for _, w := range s.Warnings {
		found = append(found, Finding{"configuration", Warn, w.Key + " " + w.Message, w.Hint})
	}
	looked := 0
	for _, file := range secretFiles {
		file = filepath.Join(s.DataDir, file)
		info, err := os.Stat(file)
		if s.DataDir == "" || err != nil {
			continue // not made, or not on this machine: the data directory's finding tells
		}
		looked++
		if perm := info.Mode().Perm(); perm&0o077 != 0 {
			found = append(found, Finding{
				name, Fail, fmt.Sprintf("%s: other users can read or change it (mode %04o)", file, perm),
				"chmod go-rwx " + file + ", and consider the secrets in it known",
			})
		}
	}
	if s.ConfigFile != "" { // loading it refuses what others can change, and secrets that they can read
		looked++
	}
	if looked == 0 && found == nil {
		return []Finding{{name, Skip, "no configuration and no data directory is here", "run doctor where the broker runs, with --config"}}
	}
	if found == nil {
		return []Finding{{name, OK, fmt.Sprintf("%d files and directories are private", looked), ""}}
	}
	return found
}
