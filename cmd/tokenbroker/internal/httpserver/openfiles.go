package httpserver

import (
	"fmt"
	"syscall"
)

// Connections bounds the connections of clients. The zero value selects the defaults.
type Connections struct {
	// Max is how many the public listener may have; if 0, 16,384, or what the process's file
	// descriptors allow.
	Max int
	// PerAddress is how many of them one address may have: an IPv4 address or an IPv6 /64, and
	// four times as many an IPv6 /48. Trusted proxies have no such limit. If 0, it is 256, and
	// loopback addresses have no limit either.
	PerAddress int
}

const (
	defaultConnections = 16384
	defaultPerAddress  = 256
	// operatorConnections is the limit of each of the operators' listeners, natsConnections that of the
	// embedded NATS server: the broker keeps receipts of 5,000 services.
	operatorConnections = 256
	natsConnections     = 8192
	// fewConnections is what a public listener should have at least.
	fewConnections = 1024

	// ownFiles are kept free for the process itself, in addition to the store's files: the store's next
	// files, requests to providers, listeners, the broker's own links. Of the descriptors a
	// quarter is kept, up to maxReserve: a store that grows has a file for each table.
	ownFiles   = 64
	maxReserve = 16384
	// leastConnections are accepted even if there are too few descriptors.
	leastConnections = 4
)

// OpenFiles is how a process divides the files that it may have open. Each connection is one of them,
// and a store that cannot open a file ends the process, so connections never get all of them.
type OpenFiles struct {
	// Limit is RLIMIT_NOFILE, Reserved the part for the store and the process itself.
	Limit, Reserved int
	// Public, Operators and NATS are how many connections the listeners may have, Operators
	// each of the two; NATS is 0 without an embedded server.
	Public, Operators, NATS int
	// PerAddress is how many of Public one address may have.
	PerAddress int
	// Wanted is the limit to set if Public is less than configured, or less than 1,024; otherwise it is 0.
	Wanted int
}

// DivideOpenFiles divides limit open files, of which storeFiles are for the store.
func DivideOpenFiles(limit, storeFiles int, c Connections, embeddedNATS bool) OpenFiles {
	d := OpenFiles{Limit: limit, Public: c.Max, Operators: operatorConnections}
	if d.Public == 0 {
		d.Public = defaultConnections
	}
	if embeddedNATS {
		d.NATS = natsConnections
	}
	used := ownFiles + storeFiles
	d.Reserved = max(used, min(limit/4, maxReserve))
	free := max(limit-d.Reserved, 0)
	if all := d.Public + 2*d.Operators + d.NATS; free < all {
		d.Operators = max(leastConnections, min(d.Operators, free/16))
		if embeddedNATS {
			d.NATS = max(leastConnections, min(d.NATS, free/4))
		}
		d.Public = max(leastConnections, min(d.Public, free-2*d.Operators-d.NATS))
		switch {
		case d.Public < c.Max: // enough for the maximum of every listener
			d.Wanted = max(all+used, (all*4+2)/3)
		case c.Max == 0 && d.Public < fewConnections:
			d.Wanted = 4 * fewConnections
		}
	}
	if d.PerAddress = c.PerAddress; d.PerAddress == 0 {
		d.PerAddress = min(defaultPerAddress, max(d.Public/4, 1))
	}
	d.PerAddress = min(d.PerAddress, d.Public)
	return d
}

// Hint returns how to raise the limit to Wanted.
func (d OpenFiles) Hint() string {
	return fmt.Sprintf("raise the limit of open files (RLIMIT_NOFILE) to %d or more: LimitNOFILE= of a systemd unit, ulimits of a container", d.Wanted)
}

// OpenFileLimit returns the process's limit of open files (RLIMIT_NOFILE).
func OpenFileLimit() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("reading the limit of open files: %w", err)
	}
	return int(min(limit.Cur, 1<<30)), nil
}
