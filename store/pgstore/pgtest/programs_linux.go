package pgtest

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// programs are PostgreSQL's, and the user that runs them.
type programs struct {
	bin        string
	credential *syscall.Credential // nil: the user of this process
}

// findPrograms returns the newest version that is installed.
func findPrograms() (programs, error) {
	var p programs
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	newest := 13
	for _, file := range found {
		bin := filepath.Dir(file)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > newest {
			newest, p.bin = version, bin
		}
	}
	if p.bin == "" {
		return p, ErrMissing
	}
	if os.Geteuid() != 0 {
		return p, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return p, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return p, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return p, err
	}
	p.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return p, nil
}

func (p programs) path(name string) string { return filepath.Join(p.bin, name) }

// attributes are those of a child: it runs as the user of the servers, receives no signal from the terminal, and ends with this process.
func (p programs) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: p.credential, Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// ownGroup keeps the terminal's signals from a child, which outlives this process.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// own gives a file or directory to the user of the servers.
func (p programs) own(file string) error {
	if p.credential == nil {
		return nil
	}
	return os.Chown(file, int(p.credential.Uid), int(p.credential.Gid))
}

// initialize creates the data directory of a server with small segments of its log.
func (c *Cluster) initialize(dir string) error {
	return c.run(c.programs.path("initdb"), "-D", dir, "-U", User, "--auth=trust", "--no-locale", "--encoding=UTF8", "--no-sync", "--wal-segsize=1")
}

// mount mounts a filesystem in memory, which the watchdog unmounts.
func mount(dir string, size int) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		return fmt.Errorf("%w: %w", ErrNoDisk, err)
	}
	return nil
}

func signal(s syscall.Signal, pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, s)
	}
}

// children returns the processes whose parent is pid. Each process of PostgreSQL has a process group of its own.
func children(pid int) (pids []int) {
	found, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range found {
		if _, parent := stat(file); parent == pid {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, child)
		}
	}
	return pids
}

// stat returns the state of a process and its parent (proc(5)), or nothing if it has ended.
func stat(file string) (state string, parent int) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1])
	return fields[0], parent
}

func isStopped(pid int) bool {
	state, _ := stat(fmt.Sprintf("/proc/%d/stat", pid))
	return state == "T"
}

// anyRuns reports whether one of the processes has not ended.
func anyRuns(pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		state, _ := stat(fmt.Sprintf("/proc/%d/stat", pid))
		return state != "" && state != "Z"
	})
}
