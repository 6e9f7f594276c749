package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"tokenbroker/internal/longtest"
)

// copyMembers copies the data of the stopped members from one directory to another.
func (b *etcdBrokers) copyMembers(t *testing.T, from, to string) {
	t.Helper()
	for name := range b.peers {
		target := filepath.Join(to, name)
		if err := os.RemoveAll(target); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(target, os.DirFS(filepath.Join(from, name))); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(target, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnEtcdClusterThatWasSetBack restores an earlier state of all members, as etcdutl does with a snapshot.
func TestAnEtcdClusterThatWasSetBack(t *testing.T) {
	longtest.SkipShort(t, "starts brokers and three etcd members, and waits until brokers have certainly ended")
	t.Parallel()
	b := newEtcdBrokers(t)
	earlier := filepath.Join(b.dir, "earlier")
	b.setBack(t, func() {
		b.stopMembers()
		b.copyMembers(t, b.dir, earlier)
		b.continueMembers(t)
	}, func() {
		b.stopMembers()
		b.copyMembers(t, earlier, b.dir)
		b.continueMembers(t)
	})
}
