//go:build !linux

package devserver

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C in a terminal reaches only this process, which
// drains the brokers before it ends the etcd cluster. The child ends when its standard input does.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
