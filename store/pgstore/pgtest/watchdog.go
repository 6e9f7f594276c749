package pgtest

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
)

// watchdog is a process that notices the end of this one, however it ends. It kills the stopped servers, which cannot notice
// that themselves, and removes the directory of the cluster and the shared memory of killed servers.
type watchdog struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu   sync.Mutex
	pids map[string][]int // guarded by mu: the stopped processes of each server
}

// script reads the stopped processes, one line for each change, until this process ends. The seventh line of a server's lock
// file has the key and the id of its shared memory. Servers that end themselves may still write while the directory is being
// removed.
const script = `
pids= ids=
while read -r line; do pids=$line; done
[ -z "$pids" ] || kill -9 $pids
for lock in "$1"/*/postmaster.pid; do
	[ ! -e "$lock" ] || ids="$ids $(sed -n '7s/.* //p' "$lock")"
done
umount -l "$1" 2>/dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do
	rm -rf -- "$1" && break
	sleep 0.2
done
for id in $ids; do ipcrm -m "$id"; done`

func watch(dir string) (*watchdog, error) {
	w := &watchdog{cmd: exec.Command("/bin/sh", "-c", script, "pgtest-watchdog", dir), pids: make(map[string][]int)}
	w.cmd.SysProcAttr = ownGroup()
	var err error
	if w.stdin, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return w, w.cmd.Start()
}

// stopped records the stopped processes of a server.
func (w *watchdog) stopped(server string, pids []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pids[server] = pids
	var all []string
	for _, pids := range w.pids {
		for _, pid := range pids {
			all = append(all, fmt.Sprint(pid))
		}
	}
	_, _ = fmt.Fprintln(w.stdin, strings.Join(all, " "))
}

// close waits until the directory is removed.
func (w *watchdog) close() {
	_ = w.stdin.Close()
	_ = w.cmd.Wait()
}
