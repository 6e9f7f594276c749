package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tokenbroker/internal/freeport"
	"tokenbroker/store/etcdstore/member"
)

// etcdBrokers are brokers on three etcd members of this process.
type etcdBrokers struct {
	*sharedBrokers
	endpoints []string
	peers     map[string]string // peer URLs of the members by their names
	members   []*member.Member
}

func newEtcdBrokers(t *testing.T) *etcdBrokers {
	t.Helper()
	b := &etcdBrokers{sharedBrokers: &sharedBrokers{dir: t.TempDir()}, members: make([]*member.Member, 3)}
	b.startMembers(t)
	b.sharedBrokers = newSharedBrokers(t, b.dir, fmt.Sprintf("{engine: etcd, etcd: {endpoints: [%s]}}", strings.Join(b.endpoints, ", ")))
	return b
}

func (b *etcdBrokers) startMembers(t *testing.T) {
	t.Helper()
	ports := freeport.Take(t, 2*len(b.members))
	b.peers = map[string]string{}
	for i := range b.members {
		b.endpoints = append(b.endpoints, "http://127.0.0.1:"+ports[2*i])
		b.peers[fmt.Sprint("m", i)] = "http://127.0.0.1:" + ports[2*i+1]
	}
	t.Cleanup(b.stopMembers)
	b.continueMembers(t)
}

// continueMembers starts all members with the data that they have.
func (b *etcdBrokers) continueMembers(t *testing.T) {
	t.Helper()
	var starts sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	errs := make([]error, len(b.members))
	for i := range b.members {
		starts.Go(func() {
			name := fmt.Sprint("m", i)
			b.members[i], errs[i] = member.Start(ctx, member.Config{
				Name: name, Dir: filepath.Join(b.dir, name), ClientURL: b.endpoints[i], PeerURL: b.peers[name], Peers: b.peers,
			})
		})
	}
	starts.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// stopMembers stops all members at the same time.
func (b *etcdBrokers) stopMembers() {
	var stops sync.WaitGroup
	for i, m := range b.members {
		if m != nil {
			stops.Go(m.Kill)
			b.members[i] = nil
		}
	}
	stops.Wait()
}
