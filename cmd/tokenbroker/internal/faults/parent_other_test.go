//go:build !linux

package faults_test

import "syscall"

func endsWithParent() *syscall.SysProcAttr { return nil }
