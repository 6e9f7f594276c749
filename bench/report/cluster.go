package report

import "fmt"

// Cluster is what a benchmark of several brokers measured in addition to its runs.
type Cluster struct {
	Brokers int `json:"brokers"`
	// Members is the number of etcd members or PostgreSQL servers, or 0 if the processes are not known.
	Members int `json:"members,omitempty"`
	// Postgres says that the brokers use PostgreSQL, whose primary is called the leader and whose standbys followers.
	Postgres bool `json:"postgres,omitempty"`
	// SignatureUS is the median time of one ES256 signature in microseconds, the floor of the CPU times.
	SignatureUS float64 `json:"signature_us,omitempty"`
	Faults      []Fault `json:"faults,omitempty"`
	// Final are the checks of all sessions after the faults. It is missing without faults.
	Final *History `json:"final,omitempty"`
	// Goals are the goals of several brokers, and whether they were reached.
	Goals []Goal `json:"goals"`
}

// Processor is the CPU time of processes during a run.
type Processor struct {
	// Of names the processes: brokers (all of them together), leader, or follower (the mean of the followers).
	Of string `json:"of"`
	// US is the CPU time per operation in microseconds, OfSignature this time divided by that of one
	// ES256 signature.
	US          float64 `json:"us"`
	OfSignature float64 `json:"of_signature"`
}

// Names of [Processor] and [Fault].
const (
	ProcessorBrokers  = "brokers"
	ProcessorLeader   = "leader"
	ProcessorFollower = "follower"

	FaultBroker       = "broker"
	FaultFollower     = "follower"
	FaultLeader       = "leader"
	FaultFrozenLeader = "frozen-leader"
)

// Fault is a fault and how the clients perceived it.
type Fault struct {
	// Name is broker, follower or leader (killed), or frozen-leader (stopped for a while). Process is the affected process.
	Name    string `json:"name"`
	Process string `json:"process,omitempty"`
	// Skipped is why the fault was not injected. The other members are then empty.
	Skipped string `json:"skipped,omitempty"`
	History
	// GapS is the longest time in seconds in which one of the other brokers acknowledged nothing, and
	// UsualGapS the same before the fault.
	GapS      float64 `json:"gap_s"`
	UsualGapS float64 `json:"usual_gap_s"`
	// Validators is the number of validators that followed the revocations. LagS is the greatest age in seconds
	// of what one of them knew, UsualLagS the same before the fault, Stale how many were stale at the same time.
	Validators int     `json:"validators,omitempty"`
	LagS       float64 `json:"lag_s,omitempty"`
	UsualLagS  float64 `json:"usual_lag_s,omitempty"`
	Stale      int     `json:"stale,omitempty"`
	// BackS is the time in seconds from the fault until the process served again, or 0 if it stayed down.
	BackS float64 `json:"back_s,omitempty"`
}

// History counts what clients saw that know what their sessions were told.
type History struct {
	// Acknowledged are the refreshes and log-offs with an answer, Unanswered those without one or with a 5xx.
	Acknowledged uint64 `json:"acknowledged"`
	Unanswered   uint64 `json:"unanswered"`
	// Lost are acknowledged changes that were missing afterwards. DoubleSuccessors are sessions with more
	// rotations than were asked for, StaleReads answers that are older than what was acknowledged before
	// they were asked for.
	Lost             uint64 `json:"lost"`
	DoubleSuccessors uint64 `json:"double_successors"`
	StaleReads       uint64 `json:"stale_reads"`
	// LateChecks are access tokens that a broker accepted although the log-off of their session had been
	// acknowledged. Brokers do not promise to refuse them: a broker that has had no answer of the store for 3 s judges
	// tokens by what it knew at most 30 s before.
	LateChecks uint64 `json:"late_checks,omitempty"`
	// Expired are sessions that ended because a refresh was not answered within the grace, as with one broker.
	Expired uint64 `json:"expired,omitempty"`
	// First describes the first lost change, double successor or stale read.
	First string `json:"first,omitempty"`
}

// Broken is the number of broken promises.
func (h *History) Broken() uint64 { return h.Lost + h.DoubleSuccessors + h.StaleReads }

// Goal is a number with a limit.
type Goal struct {
	What  string  `json:"what"`
	Value float64 `json:"value"`
	// Unit is what Value and Limit count, such as "× one fdatasync append".
	Unit string `json:"unit"`
	// AtLeast reports that Value has to be at least Limit. Otherwise it has to be at most Limit.
	AtLeast bool    `json:"at_least,omitempty"`
	Limit   float64 `json:"limit"`
	Reached bool    `json:"reached"`
}

// The limits of the goals, from the design of several brokers (docs/decisions/0038). Merged refreshes are those
// of at least mergedClients clients.
const (
	limitAlone    = 10.0 // × one append
	limitMerged   = 2.5  // × the appends per second
	limitLeader   = 3.0  // × one signature
	limitGap      = 1.0  // s, after a broker or a follower was killed
	limitElection = 2.0  // s, after the leader was killed or frozen
	limitLag      = 5.0  // s

	// On PostgreSQL.
	postgresAlone   = 7.0
	postgresMerged  = 7.0
	postgresPrimary = 1.5

	mergedClients = 64
)

// JudgeCluster sets the goals of the cluster by its runs and faults.
func (r *Report) JudgeCluster() {
	c := r.Cluster
	c.Goals = []Goal{}
	maxAlone, minMerged, maxLeader, leaderName := limitAlone, limitMerged, limitLeader, "etcd leader"
	if c.Postgres {
		maxAlone, minMerged, maxLeader, leaderName = postgresAlone, postgresMerged, postgresPrimary, "PostgreSQL primary"
	}
	most := func(what string, value float64, unit string, limit float64) {
		c.Goals = append(c.Goals, Goal{What: what, Value: value, Unit: unit, Limit: limit, Reached: value <= limit})
	}
	for _, run := range r.Runs {
		at := fmt.Sprintf("%s, %d at once", run.Name, run.Concurrency)
		if run.Concurrency == 1 && run.OfFloor != nil {
			most(at+": p50", run.OfFloor.P50, "× one fdatasync append", maxAlone)
		}
		if run.Concurrency < mergedClients {
			continue
		}
		if run.OfFloor != nil {
			ratio := run.OfFloor.PerS
			c.Goals = append(c.Goals, Goal{
				What: at + ": rate", Value: ratio, Unit: "× appends per second", AtLeast: true, Limit: minMerged, Reached: ratio >= minMerged,
			})
		}
		for _, p := range run.Processor {
			if p.Of == ProcessorLeader {
				most(at+": CPU of the "+leaderName+" per refresh", p.OfSignature, "× one ES256 signature", maxLeader)
			}
		}
	}
	var all History
	for _, f := range c.Faults {
		if f.Skipped != "" {
			continue
		}
		limit := limitGap
		if f.Name == FaultLeader || f.Name == FaultFrozenLeader {
			limit = limitElection
		}
		most(f.title()+": longest gap of acknowledged writes", f.GapS, "s", limit)
		if f.Name == FaultBroker && f.Validators > 0 {
			most(f.title()+": age of what services know", f.LagS, "s", limitLag)
		}
		if f.Validators > 0 {
			most(f.title()+": stale services", float64(f.Stale), "", 0)
		}
		all.add(f.History)
	}
	if c.Final != nil {
		all.add(*c.Final)
		most("lost acknowledged writes", float64(all.Lost), "", 0)
		most("double successors", float64(all.DoubleSuccessors), "", 0)
		most("stale reads", float64(all.StaleReads), "", 0)
	}
}

func (h *History) add(more History) {
	h.Acknowledged += more.Acknowledged
	h.Unanswered += more.Unanswered
	h.Lost += more.Lost
	h.DoubleSuccessors += more.DoubleSuccessors
	h.StaleReads += more.StaleReads
	h.LateChecks += more.LateChecks
	h.Expired += more.Expired
	if h.First == "" {
		h.First = more.First
	}
}

// Broken returns the number of promises that were broken during all faults and in the checks after them, and the
// description of the first one.
func (c *Cluster) Broken() (n uint64, first string) {
	var all History
	for _, f := range c.Faults {
		all.add(f.History)
	}
	if c.Final != nil {
		all.add(*c.Final)
	}
	return all.Broken(), all.First
}

func (f *Fault) title() string {
	switch f.Name {
	case FaultBroker:
		return "broker killed"
	case FaultFollower:
		return "etcd follower killed"
	case FaultLeader:
		return "etcd leader killed"
	case FaultFrozenLeader:
		return "etcd leader frozen"
	}
	return f.Name
}
