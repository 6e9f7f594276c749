package deploy_test

import (
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// endsWithParent kills a process when the tests end without doing so, as after their time-out.
func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// postgresUser is endsWithParent with the user that PostgreSQL runs as, and the ids of that user: postgres for root, which
// PostgreSQL refuses, and otherwise this user.
func postgresUser() (attributes *syscall.SysProcAttr, uid, gid int, err error) {
	attributes = endsWithParent()
	if os.Geteuid() != 0 {
		return attributes, os.Geteuid(), os.Getegid(), nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil, 0, 0, err
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil, 0, 0, err
	}
	attributes.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attributes, uid, gid, nil
}
