package faults_test

import "syscall"

// endsWithParent kills a process when the tests end without doing so, as after their time-out.
func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
