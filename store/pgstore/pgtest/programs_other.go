//go:build !linux

package pgtest

import "syscall"

type programs struct{}

func findPrograms() (programs, error) { return programs{}, ErrMissing }

func (programs) path(name string) string          { return name }
func (programs) attributes() *syscall.SysProcAttr { return nil }
func (programs) own(string) error                 { return nil }

func ownGroup() *syscall.SysProcAttr { return nil }

func (c *Cluster) initialize(string) error { return ErrMissing }

func mount(string, int) error { return ErrNoDisk }

func signal(syscall.Signal, []int) {}
func children(int) []int           { return nil }
func anyRuns([]int) bool           { return false }
func isStopped(int) bool           { return true }
