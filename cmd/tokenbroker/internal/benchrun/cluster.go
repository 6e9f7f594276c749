package benchrun

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"tokenbroker/bench/load"
	"tokenbroker/bench/report"
)

// ClusterConfig configures [Bench.Cluster].
type ClusterConfig struct {
	// Clients are the numbers of concurrent clients, measured one after the other.
	Clients []int
	// Faults are the faults to inject, which requires the processes: report.FaultBroker and so on.
	Faults []string
	// Dir is the directory of the floor's file. It has to be on the disk of the etcd members.
	Dir string
}

const floorAppend = "append: 512 bytes appended to a file and synced (fdatasync), one after the other"

// appendBytes is about the size of a session's record.
const appendBytes = 512

// Cluster measures refreshes at several brokers, and the faults. Each client sends each refresh to the next
// broker. If the processes are not known, it sends all to the server's URL.
func (b *Bench) Cluster(ctx context.Context, cfg ClusterConfig) (err error) {
	c := &cluster{Bench: b, processes: b.Server.processes, brokers: b.Server.brokers()}
	b.Report.SizeOf, b.Report.Floor = "sessions", floorAppend
	b.Report.Cluster = &report.Cluster{Brokers: len(c.brokers), Goals: []report.Goal{}}
	if c.processes != nil {
		b.Report.Cluster.Members, b.Report.Cluster.Postgres = len(c.processes.servers()), len(c.processes.Postgres) > 0
	} else {
		b.Report.Notes = append(b.Report.Notes, "the floor is the disk of this machine, which the etcd members need not have")
	}
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fmt.Errorf("making the floor's key: %w", err)
	}
	if c.log, err = newSyncedLog(cfg.Dir); err != nil {
		return err
	}
	defer c.log.close()
	sessions, err := b.signIn(ctx, cfg.Sessions(b.Duration))
	defer func() { b.signOut(ctx, sessions) }()
	if err != nil {
		return err
	}
	defer b.Report.JudgeCluster()
	if err := c.rates(ctx, cfg.Clients, sessions); err != nil || len(cfg.Faults) == 0 {
		return err
	}
	return c.faults(ctx, cfg.Faults, sessions)
}

// cluster is a bench of several brokers.
type cluster struct {
	*Bench
	processes *Processes // nil if they are not known
	brokers   []*Server
	log       *syncedLog
	key       *ecdsa.PrivateKey
}

// rates measures refreshes with each number of clients, and with the greatest one also at one broker, where more of
// them share a commit.
func (c *cluster) rates(ctx context.Context, clients []int, sessions []*browser) error {
	signatures := load.NewHistogram()
	for _, n := range clients {
		if err := c.rate(ctx, "refresh", c.brokers, n, sessions, signatures); err != nil {
			return err
		}
	}
	if most := slices.Max(clients); len(c.brokers) > 1 && most > 1 {
		return c.rate(ctx, "refresh at one broker", c.brokers[:1], most, sessions, signatures)
	}
	return nil
}

func (c *cluster) rate(ctx context.Context, name string, at []*Server, clients int, sessions []*browser, signatures load.Histogram) error {
	of := newRing(sessions, clients)
	turn := make([]int, clients)
	work := func(ctx context.Context, worker int) error {
		turn[worker]++
		return at[(worker+turn[worker])%len(at)].refresh(ctx, of.take(worker))
	}
	record := make([]byte, appendBytes)
	floor := func(context.Context, int) error { return c.log.append(record) }
	m := &meter{processes: c.processes, in: closed(clients), sign: func() error { _, err := signed(c.key); return err }, signatures: signatures}
	if c.processes != nil {
		m.leader, _ = c.processes.members(ctx)
		if len(c.processes.Postgres) > 0 {
			m.leader = c.processes.Postgres[0].Name
		}
	}
	own, peer := c.withFloor(ctx, fmt.Sprintf("%s, %d at once", name, clients), m.run, work, closed(1), floor)
	run := report.Run{Name: name, Loop: "closed", Concurrency: clients, Size: len(sessions)}
	c.Report.Cluster.SignatureUS = report.US(signatures.Quantile(0.5))
	run.Processor = m.processors(c.Report.Cluster.SignatureUS)
	c.add(run, own, peer)
	return stopped(ctx)
}

// meter measures the CPU time of the processes during a load, and that of signatures between the loads.
type meter struct {
	processes  *Processes // nil if they are not known
	leader     string
	in         loop
	sign       func() error
	signatures load.Histogram

	spent map[string]time.Duration // by name
	done  atomic.Int64             // successful operations, with those of warm-ups
}

// signaturesPerTurn take a few milliseconds.
const signaturesPerTurn = 100

func (m *meter) run(ctx context.Context, warmup, duration time.Duration, work load.Work) *load.Result {
	for range signaturesPerTurn {
		began := time.Now()
		if m.sign() == nil {
			m.signatures.Record(time.Since(began))
		}
	}
	before := m.read()
	result := m.in(ctx, warmup, duration, func(ctx context.Context, worker int) error {
		err := work(ctx, worker)
		if err == nil {
			m.done.Add(1)
		}
		return err
	})
	if m.spent == nil {
		m.spent = map[string]time.Duration{}
	}
	for name, after := range m.read() {
		m.spent[name] += after - before[name]
	}
	return result
}

// read returns the CPU time of each process until now. It leaves out those that it cannot read.
func (m *meter) read() map[string]time.Duration {
	if m.processes == nil {
		return nil
	}
	times := map[string]time.Duration{}
	for _, one := range m.processes.all() {
		if cpu, err := m.processes.cpu(one); err == nil {
			times[one.Name] = cpu
		}
	}
	return times
}

// processors returns the CPU time per operation of the brokers, of the leader and of a follower.
func (m *meter) processors(signatureUS float64) []report.Processor {
	done := float64(m.done.Load())
	if done == 0 || len(m.spent) == 0 || signatureUS == 0 {
		return nil
	}
	sum := map[string]time.Duration{}
	for _, one := range m.processes.Brokers {
		sum[report.ProcessorBrokers] += m.spent[one.Name]
	}
	followers := 0
	for _, one := range m.processes.servers() {
		switch {
		case one.Name == m.leader:
			sum[report.ProcessorLeader] += m.spent[one.Name]
		case one.PID != 0:
			followers++
			sum[report.ProcessorFollower] += m.spent[one.Name]
		}
	}
	if followers > 0 {
		sum[report.ProcessorFollower] /= time.Duration(followers)
	}
	var out []report.Processor
	for _, of := range []string{report.ProcessorBrokers, report.ProcessorLeader, report.ProcessorFollower} {
		if us := report.US(sum[of]) / done; us > 0 {
			out = append(out, report.Processor{Of: of, US: us, OfSignature: us / signatureUS})
		}
	}
	return out
}
