//go:build !linux

package deploy_test

import (
	"os"
	"syscall"
)

func endsWithParent() *syscall.SysProcAttr { return nil }

func postgresUser() (attributes *syscall.SysProcAttr, uid, gid int, err error) {
	return nil, os.Geteuid(), os.Getegid(), nil
}
