package benchrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"tokenbroker/api/origin"
	"tokenbroker/internal/private"
)

// Processes are the brokers and etcd members of a cluster on this machine, as the processes.json of
// `tokenbroker dev --brokers` lists them.
type Processes struct {
	Brokers []Process `json:"brokers"`
	Etcd    []Process `json:"etcd"`
	// Postgres are servers of a PostgreSQL cluster that the operator has started instead of etcd, the primary first. Only their CPU time is
	// used.
	Postgres []Process `json:"postgres,omitempty"`

	file   string
	parent int // of all processes
}

// Process is one process. Its PID is 0 while it is down.
type Process struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
	// URL is a broker's public address, or a member's client URL. It is not used for PostgreSQL.
	URL string `json:"url"`
}

// ReadProcesses reads the file of a cluster, which this user must own and others must not be able to read,
// because its processes may be killed.
func ReadProcesses(file string) (*Processes, error) {
	p := &Processes{file: file}
	if err := p.read(); err != nil {
		return nil, usage("--processes: %v", err)
	}
	return p, nil
}

// read reads the file and checks it.
func (p *Processes) read() error {
	body, err := private.ReadFile(p.file)
	if err != nil {
		return err
	}
	p.Brokers, p.Etcd, p.Postgres = nil, nil, nil
	if err := json.Unmarshal(body, p); err != nil {
		return fmt.Errorf("%s is not a processes.json: %w", p.file, err)
	}
	if len(p.Brokers) == 0 {
		return fmt.Errorf("%s lists no brokers", p.file)
	}
	var names []string
	for _, one := range p.all() {
		u, err := url.Parse(one.URL)
		switch {
		case one.Name == "" || one.Name != filepath.Base(one.Name) || slices.Contains(names, one.Name):
			return fmt.Errorf("%s: %q is not a name, or two processes have it", p.file, one.Name)
		case slices.Contains(p.Postgres, one):
		case err != nil || u.Scheme != "http" || !origin.LoopbackHost(u.Hostname()):
			return fmt.Errorf("%s: the url of %s is not an http URL on this machine", p.file, one.Name)
		}
		names = append(names, one.Name)
		if err := p.check(one); err != nil {
			return err
		}
	}
	if p.parent == 0 {
		return fmt.Errorf("%s: no process is running", p.file)
	}
	return nil
}

// check checks that a process, if it runs, has the same parent as the others. Otherwise the file may be of a dev that
// was killed, whose process ids other programs have taken since.
func (p *Processes) check(one Process) error {
	if one.PID == 0 {
		return nil
	}
	stat, err := readStat(one.PID)
	switch {
	case one.PID < 0 || err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %s has the process id %d, which is not valid here: %w", p.file, one.Name, one.PID, err)
	case err != nil: // the process has ended, but the file still has its pid
		return nil
	case p.parent == 0:
		p.parent = stat.parent
	case p.parent != stat.parent:
		return fmt.Errorf("%s: %s was not started by the same process as the others: is the file from an earlier run?", p.file, one.Name)
	}
	return nil
}

func (p *Processes) all() []Process { return slices.Concat(p.Brokers, p.servers()) }

// servers returns the processes of the engine.
func (p *Processes) servers() []Process { return slices.Concat(p.Etcd, p.Postgres) }

// cpu returns the CPU time of a process and of its children, such as the backends of PostgreSQL, until now.
func (p *Processes) cpu(of Process) (sum time.Duration, err error) {
	stat, err := readStat(of.PID)
	if err != nil || !slices.Contains(p.Postgres, of) {
		return stat.cpu, err
	}
	sum = stat.cpu
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // a process of this machine
		if err != nil {
			continue // it has ended
		}
		if child, err := parseStat(text); err == nil && child.parent == of.PID {
			sum += child.cpu
		}
	}
	return sum, err
}

// processStat is a part of /proc/PID/stat.
type processStat struct {
	parent int
	cpu    time.Duration // user and system
}

// clockTick is the unit of CPU times in /proc, which is the same on all architectures of Linux that Go supports.
const clockTick = 10 * time.Millisecond

func readStat(pid int) (processStat, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processStat{}, err
	}
	return parseStat(text)
}

// parseStat parses /proc/PID/stat (proc_pid_stat(5)). The second field is a name in parentheses, which may contain
// anything.
func parseStat(text []byte) (processStat, error) {
	const parent, userTime, systemTime = 3, 13, 14 // minus the two fields up to the name
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= systemTime-2 {
		return processStat{}, errors.New("/proc/PID/stat has too few fields")
	}
	number := func(field int) (n int) {
		n, _ = strconv.Atoi(string(fields[field-2])) // 0 if it is not a number, which the kernel does not write
		return n
	}
	return processStat{parent: number(parent), cpu: time.Duration(number(userTime)+number(systemTime)) * clockTick}, nil
}

// find returns the process with that name, or the zero Process.
func (p *Processes) find(name string) Process {
	for _, one := range p.all() {
		if one.Name == name {
			return one
		}
	}
	return Process{}
}

// signal sends a signal to the process that has the name now, and returns its process id.
func (p *Processes) signal(name string, sig syscall.Signal) (pid int, err error) {
	if err := p.read(); err != nil {
		return 0, err
	}
	one := p.find(name)
	if one.PID <= 1 {
		return 0, fmt.Errorf("%s is not running", name)
	}
	if err := syscall.Kill(one.PID, sig); err != nil {
		return 0, fmt.Errorf("sending %v to %s (process %d): %w", sig, name, one.PID, err)
	}
	return one.PID, nil
}

// memberTimeout is the time limit for the answer of an etcd member about its state.
const memberTimeout = 2 * time.Second

// members returns the leader of the etcd cluster, or "" if no member is the leader, and the number of members that
// answer.
func (p *Processes) members(ctx context.Context) (leader string, answering int) {
	for _, one := range p.Etcd {
		if one.PID == 0 {
			continue
		}
		isLeader, err := askMember(ctx, one.URL)
		if err != nil {
			continue
		}
		answering++
		if isLeader {
			leader = one.Name
		}
	}
	return leader, answering
}

func askMember(ctx context.Context, endpoint string) (leader bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{Context: ctx, Endpoints: []string{endpoint}, DialTimeout: memberTimeout})
	if err != nil {
		return false, err
	}
	defer func() { _ = client.Close() }()
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return false, err
	}
	return status.Leader == status.Header.MemberId, nil
}
