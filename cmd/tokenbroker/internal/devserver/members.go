package devserver

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"

	"tokenbroker/store/etcdstore/member"
)

// memberQuota is the limit of the etcd database, as docs/operate.md recommends it.
const memberQuota = 8 << 30

// members returns the members of the etcd cluster, with the settings of the first run with this data directory, and their client URLs.
func (r *run) members() (members []*process, endpoints []string, err error) {
	want := 1
	if r.Brokers >= 3 {
		want = 3
	}
	configs, err := readMembers(r.dataDir)
	if err != nil {
		return nil, nil, err
	}
	if len(configs) == 0 {
		if configs, err = newMembers(want); err != nil {
			return nil, nil, err
		}
	}
	if len(configs) != want {
		return nil, nil, fmt.Errorf("the etcd cluster in the data directory %s has %d members, and --brokers %d needs %d: name another --data-dir", r.dataDir, len(configs), r.Brokers, want)
	}
	for _, c := range configs {
		c.Dir = filepath.Join(r.dataDir, c.Name)
		for _, url := range []string{c.ClientURL, c.PeerURL} {
			l, err := net.Listen("tcp", hostOf(url))
			if err != nil {
				return nil, nil, fmt.Errorf("%s has the address %s since the first run with this data directory: %w; stop the program that uses it, or name another --data-dir", c.Name, hostOf(url), err)
			}
			_ = l.Close()
		}
		members = append(members, &process{kind: KindMember, name: c.Name, settings: c, url: c.ClientURL})
		endpoints = append(endpoints, c.ClientURL)
	}
	return members, endpoints, nil
}

// readMembers returns the settings of the members of an earlier run.
func readMembers(dataDir string) (configs []*member.Config, err error) {
	for i := 1; ; i++ {
		c := &member.Config{}
		err := readJSON(filepath.Join(dataDir, memberName(i)+".json"), c)
		if errors.Is(err, fs.ErrNotExist) {
			return configs, nil
		}
		if err != nil {
			return nil, err
		}
		configs = append(configs, c)
	}
}

// newMembers returns the settings of n members with free ports.
func newMembers(n int) ([]*member.Config, error) {
	urls, err := freeURLs(2 * n)
	if err != nil {
		return nil, err
	}
	var configs []*member.Config
	peers := map[string]string{}
	for i := range n {
		c := &member.Config{Name: memberName(i + 1), ClientURL: urls[2*i], PeerURL: urls[2*i+1], Peers: peers, Quota: memberQuota}
		peers[c.Name] = c.PeerURL
		configs = append(configs, c)
	}
	return configs, nil
}

func memberName(i int) string { return "etcd-" + strconv.Itoa(i) }

// freeURLs returns URLs with free ports on loopback. They are below the ports from which systems take those of outgoing
// connections, because a later run with the same data directory needs the same ones.
func freeURLs(n int) (urls []string, err error) {
	for range 100 * n {
		l, listenErr := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(20_000+rand.IntN(12_000))) //nolint:gosec // any port
		if listenErr != nil {
			err = listenErr
			continue
		}
		defer func() { _ = l.Close() }() // at the end, so that each one is returned once
		if urls = append(urls, "http://"+l.Addr().String()); len(urls) == n {
			return urls, nil
		}
	}
	return nil, fmt.Errorf("finding free ports for etcd: %w", err)
}
