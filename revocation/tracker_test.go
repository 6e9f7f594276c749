package revocation_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenbroker/revocation"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expectations in testdata")

// TestTracker plays the scripts in testdata/tracker. A line is a time, what happens, and
// its arguments; what the tracker then wants follows after "->".
//
//	at 1s200ms            sets both clocks; "wall +300" moves only the wall clock (ms)
//	tick                  and then one line per effect
func TestTracker(t *testing.T) {
	files, err := filepath.Glob("testdata/tracker/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(script))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(script) {
				t.Errorf("%s: got\n%s", file, got)
			}
		})
	}
}

type player struct {
	t       *testing.T
	now     revocation.Instant
	jitter  float64
	tracker *revocation.Tracker
	retry   map[string]revocation.Held
	out     strings.Builder
}

func play(t *testing.T, script string) string {
	p := &player{t: t, retry: make(map[string]revocation.Held)}
	p.now.WallMS = 1_000_000
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "->") {
			continue
		}
		p.out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p.do(strings.Fields(line))
	}
	return p.out.String()
}

func (p *player) do(words []string) {
	args := make(map[string]string)
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	num := func(name string) int64 {
		if args[name] == "" {
			return 0
		}
		n, err := strconv.ParseInt(args[name], 10, 64)
		if err != nil {
			p.t.Fatalf("%v: %v", words, err)
		}
		return n
	}
	arrival := p.now.Mono
	if args["arrival"] != "" {
		arrival = p.duration(args["arrival"])
	}
	store := args["store"]
	if store == "" {
		store = "S"
	}
	switch words[0] {
	case "at":
		to := p.duration(words[1])
		p.now.WallMS += (to - p.now.Mono).Milliseconds()
		p.now.Mono = to
	case "wall":
		n, err := strconv.ParseInt(words[1], 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		p.now.WallMS += n
	case "jitter":
		p.jitter, _ = strconv.ParseFloat(words[1], 64)
	case "new":
		p.tracker = revocation.NewTracker(p.now, revocation.TrackerConfig{
			Jitter: func() float64 { return p.jitter },
		})
	case "tick":
		p.show(p.tracker.Tick(p.now))
	case "run": // tick until then
		for to := p.duration(words[1]); p.now.Mono < to; {
			step := min(100*time.Millisecond, to-p.now.Mono)
			p.now.Mono += step
			p.now.WallMS += step.Milliseconds()
			p.show(p.tracker.Tick(p.now))
		}
	case "gap":
		p.show(p.tracker.Gap(p.now))
	case "batch":
		m := revocation.Message{Incomplete: args["incomplete"] != "", Batch: &revocation.Batch{
			V: 1, Store: store, Origin: args["origin"], Seq: uint64(num("seq")), Events: events(args["sid"], num("exp")),
			Ack: args["ack"] != "",
		}}
		p.show(p.tracker.Message(p.now, arrival, m))
	case "beat":
		m := revocation.Message{Incomplete: args["incomplete"] != "", Heartbeat: &revocation.Heartbeat{
			V: 1, Store: store, Origin: args["origin"], Head: uint64(num("head")), Up: num("up"),
			AtMS: num("at_ms"), TimeFloor: num("floor"), JWKS: args["jwks"],
		}}
		if args["heads"] != "" {
			m.Heartbeat.Heads = make(map[string]uint64)
			for _, o := range p.heads(args["heads"]) {
				m.Heartbeat.Heads[o.Origin] = o.Head
			}
			m.Heartbeat.Head = m.Heartbeat.Heads[m.Heartbeat.Origin]
		}
		p.show(p.tracker.Message(p.now, arrival, m))
	case "answer":
		a := &revocation.Answer{
			V: 1, Store: store, Origin: args["origin"], Up: num("up"), AtMS: num("at_ms"),
			TimeFloor: num("floor"), Full: args["full"] != "", Events: events(args["sid"], num("exp")),
		}
		if args["kid"] != "" {
			a.Kids = []string{args["kid"]}
		}
		a.Origins = p.heads(args["origins"])
		p.show(p.tracker.CatchUpDone(p.now, uint64(num("id")), a, nil))
	case "fail":
		p.show(p.tracker.CatchUpDone(p.now, uint64(num("id")), nil, errTest))
	case "later":
		p.show(p.tracker.CatchUpDone(p.now, uint64(num("id")), nil, fmt.Errorf("asking: %w", laterError(num("ms")))))
	case "token-keys", "feed-keys":
		f := revocation.Fetched{Store: store, ETag: args["etag"], Changed: args["changed"] != "", Removed: args["removed"] != ""}
		if args["fail"] != "" {
			f = revocation.Fetched{Err: errTest}
		}
		if words[0] == "token-keys" {
			p.show(p.tracker.TokenKeysFetched(p.now, f))
		} else {
			p.show(p.tracker.FeedKeysFetched(p.now, f))
		}
	case "want-token-keys":
		p.show(p.tracker.WantTokenKeys(p.now))
	case "unknown":
		h, ok := p.retry[args["raw"]]
		if !ok {
			h = revocation.Held{Raw: []byte(args["raw"]), Arrival: arrival}
		}
		delete(p.retry, args["raw"])
		p.show(p.tracker.Unknown(p.now, h))
	case "state":
		p.state()
	case "speaker":
		p.say("speaker %q", p.tracker.State(p.now).Speaker)
	case "applied":
		p.say("applied %v", p.tracker.Applied())
	default:
		p.t.Fatalf("unknown line %v", words)
	}
}

// heads reads a list such as A.5,B.7.
func (p *player) heads(list string) []revocation.OriginHead {
	var heads []revocation.OriginHead
	for o := range strings.SplitSeq(list, ",") {
		name, head, _ := strings.Cut(o, ".")
		n, err := strconv.ParseUint(head, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		heads = append(heads, revocation.OriginHead{Origin: name, Head: n})
	}
	return heads
}

var errTest = errors.New("test")

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

func events(sids string, expires int64) []revocation.Event {
	var out []revocation.Event
	for _, sid := range strings.FieldsFunc(sids, func(r rune) bool { return r == ',' }) {
		out = append(out, revocation.Event{Kind: revocation.KindSID, Value: sid, ExpiresAt: expires})
	}
	return out
}

func (p *player) say(format string, args ...any) {
	fmt.Fprintf(&p.out, "-> %v: %s\n", p.now.Mono, fmt.Sprintf(format, args...))
}

func (p *player) show(e revocation.Effects) {
	for _, n := range e.Notes {
		p.say("note: %s", n)
	}
	if e.DropStore {
		p.say("drop the old store")
	}
	for _, kid := range e.Kids {
		p.say("kid %s", kid)
	}
	for _, ev := range e.Apply {
		p.say("apply %s %s", ev.Kind, ev.Value)
	}
	if e.Receipt {
		p.say("receipt of %v", p.tracker.Applied())
	}
	if e.CatchUp != nil {
		p.say("catch-up %d after %q", e.CatchUp.ID, e.CatchUp.After)
	}
	if e.FetchTokenKeys {
		p.say("fetch token keys")
	}
	if e.FetchFeedKeys {
		p.say("fetch feed keys")
	}
	for _, h := range e.Retry {
		p.retry[string(h.Raw)] = h
		p.say("retry %s of %v", h.Raw, h.Arrival)
	}
}

func (p *player) state() {
	s := p.tracker.State(p.now)
	p.say("store %q proved %v as_of %v at_ms %d floor %d dropped %d fresh %v", s.Store, s.Proved, s.AsOf,
		s.AtMS, s.TimeFloor, s.Dropped, s.Fresh(p.now.Mono, 30*time.Second))
	if s.Reason != "" {
		p.say("reason: %s", s.Reason)
	}
	if s.Copies > 0 {
		p.say("copies %d", s.Copies)
	}
}

// TestReadInstantOnABusyMachine stops the thread between the readings, which makes the two clocks appear
// to differ.
func TestReadInstantOnABusyMachine(t *testing.T) {
	for name, tt := range map[string]struct {
		stops []time.Duration // between the monotonic readings, one for each attempt
		reads int
		want  time.Duration // Mono
	}{
		"idle":           {[]time.Duration{0}, 1, 0},
		"stopped twice":  {[]time.Duration{time.Second, 300 * time.Millisecond, time.Millisecond}, 3, 1301 * time.Millisecond},
		"always stopped": {[]time.Duration{90e6, 80e6, 70e6, 20e6, 60e6, 50e6, 40e6, 30e6, 90e6, 90e6}, 10, 260 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var mono time.Duration
			reads := 0
			got := revocation.ReadInstant(func() time.Duration { return mono }, func() time.Time {
				at := time.UnixMilli(5_000 + mono.Milliseconds())
				mono += tt.stops[reads]
				reads++
				return at
			})
			apart := got.WallMS - 5_000 - got.Mono.Milliseconds()
			if least := slices.Min(tt.stops); reads != tt.reads || got.Mono != tt.want || apart != -least.Milliseconds() {
				t.Errorf("%d readings, %+v, the clocks are %d ms apart", reads, got, apart)
			}
		})
	}
}

// laterError is the answer of a broker that wants to be asked again in so many milliseconds.
type laterError int64

func (laterError) Error() string               { return "later" }
func (e laterError) RetryAfter() time.Duration { return time.Duration(e) * time.Millisecond }
