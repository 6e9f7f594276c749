package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// The lowest version of etcd: earlier ones have had faults that lose or reorder data.
const (
	minMajor = 3
	minMinor = 6
)

// Member is the state of one endpoint.
type Member struct {
	Endpoint string
	// Err is why the endpoint does not answer, or nil. If it is not nil, the other fields are zero.
	Err     error
	Version string
	// Leader means that the member is the leader, HasLeader that it knows of one.
	Leader, HasLeader bool
	// Size is the size of the database in bytes, of which InUse are not free, and Quota its limit, or zero if it is not known.
	Size, InUse, Quota int64
	// Alarms are the alarms of the cluster that the member reports, such as NOSPACE.
	Alarms []string
}

// Members asks all endpoints for their state, each at most for Config.TryFor, and returns them in the order of the
// configuration.
func (s *Store) Members(ctx context.Context) []Member {
	members := make([]Member, len(s.endpoints))
	var asks sync.WaitGroup
	for i, e := range s.endpoints {
		asks.Go(func() { members[i] = s.member(ctx, e) })
	}
	asks.Wait()
	return members
}

func (s *Store) member(ctx context.Context, e *endpoint) Member {
	m := Member{Endpoint: e.url}
	ctx, cancel := context.WithTimeout(ctx, s.config.TryFor)
	defer cancel()
	client, err := s.connect(ctx, e)
	if err != nil {
		m.Err = err
		return m
	}
	status, err := pb.NewMaintenanceClient(client.ActiveConnection()).Status(ctx, &pb.StatusRequest{}) // client.Status makes a connection
	if err != nil {
		m.Err = rpctypes.Error(err)
		return m
	}
	m.Version, m.Size, m.InUse, m.Quota = status.Version, status.DbSize, status.DbSizeInUse, status.DbSizeQuota
	m.HasLeader, m.Leader = status.Leader != 0, status.Leader == status.Header.MemberId
	for _, alarm := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		if slices.ContainsFunc(status.Errors, func(e string) bool { return strings.Contains(e, alarm.String()) }) {
			m.Alarms = append(m.Alarms, alarm.String())
		}
	}
	return m
}

// Full reports whether the cluster refused the last commit because it has no space.
func (s *Store) Full() bool { return s.full.Load() }

// check checks the members that answer. It waits until one does and the cluster has a leader.
func (s *Store) check(ctx context.Context) error {
	for reason := error(nil); ; {
		err := s.checkMembers(ctx)
		if err == nil {
			err = s.checkRights(ctx)
		}
		if err == nil || !mayHelp(err) || errors.Is(err, errUnsupported) {
			return err
		}
		if ctx.Err() == nil || reason == nil {
			reason = err
		}
		select {
		case <-time.After(s.pause()):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), reason)
		}
	}
}

var errUnsupported = errors.New("unsupported version of etcd")

func (s *Store) checkMembers(ctx context.Context) error {
	answered := false
	var failed []error
	for _, m := range s.Members(ctx) {
		switch {
		case m.Err != nil && !mayHelp(m.Err):
			return fmt.Errorf("%s: %w", m.Endpoint, m.Err)
		case m.Err != nil:
			failed = append(failed, fmt.Errorf("%s: %w", m.Endpoint, m.Err))
			continue
		case !supported(m.Version):
			return fmt.Errorf("%w: %s has %s, at least %d.%d is needed", errUnsupported, m.Endpoint, m.Version, minMajor, minMinor)
		case len(m.Alarms) > 0:
			s.config.Logger.Error("the etcd cluster has raised an alarm", "endpoint", m.Endpoint, "alarms", m.Alarms)
		}
		answered = true
	}
	if !answered {
		return errors.Join(failed...)
	}
	for _, err := range failed {
		s.config.Logger.Warn("an etcd endpoint does not answer", "error", err)
	}
	return nil
}

// probeKey is a key that no record has.
const probeKey = "\x00probe"

// checkRights sends the largest transaction that the store uses, which writes nothing: it needs a leader, the rights to
// read and to write below the prefix, and that the members accept its number of operations.
func (s *Store) checkRights(ctx context.Context) error {
	name := s.name(probeKey)
	then := []clientv3.Op{clientv3.OpPut(name, "")}
	for len(then) < s.config.MaxTxnOps {
		then = append(then, clientv3.OpGet(name))
	}
	err := s.attempt(ctx, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(name), "=", -1)).Then(then...).Commit()
		return err
	})
	switch {
	case errors.Is(err, rpctypes.ErrNoSpace):
		s.noteSpace(err)
		return nil // the records can be read
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("user %q has no right to read and write the keys below %q: %w", s.config.Username, s.config.Prefix, err)
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return fmt.Errorf("the members' --max-txn-ops is less than %d: %w", s.config.MaxTxnOps, err)
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("the cluster requires a user name and a password: %w", err)
	}
	return err
}

func supported(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	return errA == nil && errB == nil && (a > minMajor || a == minMajor && b >= minMinor)
}
