package benchrun

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"tokenbroker/broker/operator"
	"tokenbroker/cmd/tokenbroker/internal/adminclient"
)

// AtProcesses returns the cluster of these processes, for which it adds users with random passwords over the admin
// API. Each has at most userSessions of the sessions. o.URL and o.Account are not used. stop removes the users.
func AtProcesses(ctx context.Context, o Options, p *Processes, sessions int) (s *Server, stop func() error, err error) {
	o.URL, err = p.issuer(ctx)
	if err != nil {
		return nil, nil, err
	}
	if s, err = at(ctx, o); err != nil {
		return nil, nil, err
	}
	s.processes = p
	stop = func() error {
		s.Close()
		return p.removeUsers(context.WithoutCancel(ctx), s.accounts)
	}
	prefix := "bench-" + strings.ToLower(rand.Text()[:8]) + "-"
	for i := range (sessions + userSessions - 1) / userSessions {
		account := Account{Username: fmt.Sprint(prefix, i), Password: rand.Text()}
		err := p.operate(func(c *adminclient.Client) error {
			_, err := c.AddUser(ctx, operator.NewUser{Username: account.Username, Password: account.Password})
			return err
		})
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("adding a user: %w", err), stop())
		}
		s.accounts = append(s.accounts, account)
	}
	return s, stop, nil
}

// brokers returns the brokers of a cluster, or the server itself if they are not known.
func (s *Server) brokers() []*Server {
	if s.processes == nil {
		return []*Server{s}
	}
	var all []*Server
	for _, one := range s.processes.Brokers {
		all = append(all, &Server{options: Options{URL: strings.TrimSuffix(one.URL, "/")}, http: s.http})
	}
	return all
}

// operate calls f with a client of one broker after the other until one answers. The data directories of the brokers
// are next to the file and have their names.
func (p *Processes) operate(f func(*adminclient.Client) error) (err error) {
	for _, one := range p.Brokers {
		if one.PID == 0 {
			continue
		}
		var c *adminclient.Client
		if c, err = adminclient.Locate(adminclient.Options{DataDir: filepath.Join(filepath.Dir(p.file), one.Name)}); err != nil {
			return err
		}
		err = f(c)
		c.Close()
		if !errors.Is(err, adminclient.ErrNoServer) {
			return err
		}
	}
	return err
}

// issuer returns the brokers' issuer.
func (p *Processes) issuer(ctx context.Context) (url string, err error) {
	err = p.operate(func(c *adminclient.Client) error {
		status, err := c.Status(ctx)
		url = status.Issuer
		return err
	})
	if err != nil {
		return "", fmt.Errorf("asking a broker for its issuer: %w", err)
	}
	return url, nil
}

// removeUsers removes the users, which ends their sessions.
func (p *Processes) removeUsers(ctx context.Context, accounts []Account) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for _, account := range accounts {
		err := p.operate(func(c *adminclient.Client) error {
			_, err := c.RemoveUser(ctx, account.Username, "the benchmark that added it has ended")
			return err
		})
		if err != nil {
			return fmt.Errorf("removing the user %s: %w", account.Username, err)
		}
	}
	return nil
}
