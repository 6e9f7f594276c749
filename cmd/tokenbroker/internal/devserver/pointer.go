package devserver

import (
	"os"
	"path/filepath"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
	"tokenbroker/cmd/tokenbroker/internal/node"
)

// pointer is the file by which operators' commands find one of several brokers that runs.
type pointer struct {
	run    *run
	name   string // of the broker that it names
	remove func() error
}

// follow lets the pointer name another broker if its own has ended.
func (p *pointer) follow(l listed) {
	var to *listedProcess
	for i, b := range l.Brokers {
		if b.PID == 0 || b.report.Listen == "" {
			continue
		}
		if b.Name == p.name {
			return
		}
		if to == nil {
			to = &l.Brokers[i]
		}
	}
	if to == nil {
		return
	}
	now := adminclient.Pointer{
		PID: os.Getpid(), Socket: to.report.Socket, AdminURL: to.Admin, TokenFile: filepath.Join(p.run.dataDir, to.Name, node.AdminTokenFile),
	}
	var err error
	if p.remove == nil {
		p.remove, err = adminclient.WritePointer(now)
	} else {
		err = adminclient.ReplacePointer(now)
	}
	if err != nil {
		p.run.warnOfPointer(err)
	}
	p.name = to.Name
}

// forget removes the pointer.
func (p *pointer) forget() error {
	if p.remove == nil {
		return nil
	}
	return p.remove()
}
