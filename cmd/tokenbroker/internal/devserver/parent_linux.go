package devserver

import "syscall"

// childAttributes puts a child into a process group of its own, so that Ctrl-C in a terminal reaches only this process, which
// drains the brokers before it ends the etcd cluster. The kernel kills the child when the thread that has started it ends.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
