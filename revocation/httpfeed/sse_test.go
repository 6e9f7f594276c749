package httpfeed

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// parse parses a stream to its end and returns one line for each event.
func parse(r io.Reader) (events []string, p *parser, err error) {
	p = newParser(r)
	for {
		e, err := p.next()
		if err != nil {
			return events, p, err
		}
		events = append(events, fmt.Sprintf("%s|%s|%s", e.name, p.lastID, e.data))
	}
}

func TestEventsOfAStream(t *testing.T) {
	for name, row := range map[string]struct {
		stream string
		want   []string
	}{
		"line feeds":                {"event: batch\nid: o.1\ndata: a.b.c\n\n", []string{"batch|o.1|a.b.c"}},
		"carriage returns":          {"event: batch\rid: o.1\rdata: a\r\r", []string{"batch|o.1|a"}},
		"both":                      {"event: batch\r\nid: o.1\r\ndata: a\r\n\r\n", []string{"batch|o.1|a"}},
		"mixed":                     {"event: batch\rdata: a\r\n\ndata: b\n\r", []string{"batch||a", "message||b"}},
		"a byte order mark":         {"\ufeffdata: a\n\n", []string{"message||a"}},
		"a second byte order mark":  {"\ufeff\ufeffdata: a\n\n", nil},
		"a later byte order mark":   {"\n\ufeffdata: a\n\n", nil},
		"comments":                  {": hello\ndata: a\n:\n: again\n\n", []string{"message||a"}},
		"several data lines":        {"data: a\ndata:\ndata: b\n\n", []string{"message||a\n\nb"}},
		"only one space is cut off": {"data:  a\ndata:b\n\n", []string{"message|| a\nb"}},
		"an event without data":     {"event: batch\nid: o.1\n\ndata: a\n\n", []string{"message|o.1|a"}},
		"empty data":                {"event: batch\ndata\n\ndata: a\n\n", []string{"message||a"}},
		"unknown fields":            {"foo: bar\ndata: a\nDATA: b\n data: c\n\n", []string{"message||a"}},
		"an event that is cut off":  {"data: a\n\ndata: b\n", []string{"message||a"}},
		"an id stays":               {"id: o.1\ndata: a\n\ndata: b\n\n", []string{"message|o.1|a", "message|o.1|b"}},
		"an id is taken back":       {"id: o.1\ndata: a\n\nid\ndata: b\n\n", []string{"message|o.1|a", "message||b"}},
		"an id for no header":       {"id: o.1\nid: o\x00.2\nid: a b\nid: \u00e9\ndata: a\n\n", []string{"message|o.1|a"}},
		"an id that is too long":    {"id: o.1\nid: " + strings.Repeat("x", maxID+1) + "\ndata: a\n\n", []string{"message|o.1|a"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(row.stream), iotest.OneByteReader(strings.NewReader(row.stream))} {
				got, _, err := parse(r)
				if diff := cmp.Diff(row.want, got); diff != "" || !errors.Is(err, io.EOF) {
					t.Errorf("events (-want +got):\n%s%v", diff, err)
				}
			}
		})
	}
}

func TestRetryOfAStream(t *testing.T) {
	for text, want := range map[string]string{
		"retry: 1500\n\n": "1.5s", "retry: x\n": "0s", "retry: -1\n": "0s", "retry: +1\n": "0s", "retry\n": "0s",
		"retry: 99999999999999999999\n": "0s", "retry: 7\nretry: x\n": "7ms",
	} {
		if _, p, _ := parse(strings.NewReader(text)); p.retry.String() != want {
			t.Errorf("%q: %s, want %s", text, p.retry, want)
		}
	}
}

// A line ends with its CR: an event is not delayed until the next one starts.
func TestAnEventDoesNotWaitForTheNextOne(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "data: a\r\r") }()
	if e, err := newParser(r).next(); err != nil || string(e.data) != "a" {
		t.Errorf("%q: %v", e.data, err)
	}
}

// zeros is an endless stream.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestMemoryOfAStreamIsBounded(t *testing.T) {
	line := strings.Repeat("x", maxLine/2)
	for name, r := range map[string]io.Reader{
		"a line":           zeros{},
		"an event's data":  strings.NewReader(strings.Repeat("data: "+line+"\n", 3) + "\n"),
		"empty data lines": strings.NewReader(strings.Repeat("data\n", maxData+2)),
	} {
		if _, _, err := parse(r); !errors.Is(err, errTooLong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	whole := "data: " + strings.Repeat("x", maxLine-len("data: ")) + "\n\n"
	if got, _, _ := parse(strings.NewReader(whole)); len(got) != 1 {
		t.Error("a line of the longest length is refused")
	}
}

// twin is a simple parser for a whole stream.
func twin(stream string) (events []string) {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(stream, "\n")
	name, id := "", ""
	var data []string
	for _, line := range lines[:len(lines)-1] {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if all := strings.Join(data, "\n"); all != "" {
				if name == "" {
					name = "message"
				}
				events = append(events, name+"|"+id+"|"+all)
			}
			name, data = "", nil
		case field == "event":
			name = value
		case field == "data":
			data = append(data, value)
		case field == "id" && len(value) <= maxID && strings.IndexFunc(value, func(r rune) bool { return r < '!' || r > '~' }) < 0:
			id = value
		}
	}
	return events
}

func FuzzParser(f *testing.F) {
	for _, seed := range []string{
		"event: batch\nid: o.1\ndata: a.b.c\n\n", "\ufeff: c\r\ndata: a\rdata\r\n\r\n", "id\ndata:\n\ndata: x\n\n", "retry: 1\n\n\r\n\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		want := twin(stream)
		for _, r := range []io.Reader{strings.NewReader(stream), iotest.HalfReader(strings.NewReader(stream))} {
			got, _, err := parse(r)
			if diff := cmp.Diff(want, got); diff != "" && !errors.Is(err, errTooLong) {
				t.Errorf("events of %q (-twin +parser):\n%s", stream, diff)
			}
		}
	})
}
