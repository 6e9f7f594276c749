package httpfeed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"tokenbroker/revocation"
)

const (
	// maxLine and maxData bound the memory of a stream: a batch of 512 KiB is a JWS
	// of about 700 KB.
	maxLine = 1 << 20
	maxData = 1 << 20
	// maxID is the maximum length of a position. A longer one is ignored: the next connection then starts after an
	// earlier position, which is valid.
	maxID = revocation.MaxPositionBytes
)

var errTooLong = errors.New("an event is too long")

// event is one event of a stream.
type event struct {
	name string // "message" if the event has no name
	data []byte // owned by the event
}

// parser parses server-sent events according to the HTML standard (§9.2.6): any line ending, a byte order
// mark, comments and several data lines. An incomplete event at the end is ignored.
type parser struct {
	r       *bufio.Reader
	begun   bool
	afterCR bool   // a following line feed belongs to the previous line
	line    []byte // of the last readLine
	// lastID and retry are the last values in the stream; retry is zero before the first one.
	lastID string
	retry  time.Duration
}

func newParser(r io.Reader) *parser { return &parser{r: bufio.NewReaderSize(r, 4<<10)} }

// next returns the next event that has data. The error is that of the reader, or reports that a line or an
// event is too long.
func (p *parser) next() (event, error) {
	e := event{name: "message"}
	hasData := false
	for {
		if err := p.readLine(); err != nil {
			return event{}, err
		}
		if len(p.line) == 0 {
			if hasData && len(e.data) > 0 {
				return e, nil
			}
			e, hasData = event{name: "message"}, false
			continue
		}
		field, value, _ := bytes.Cut(p.line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			if e.name = string(value); e.name == "" {
				e.name = "message"
			}
		case "data":
			if len(e.data)+1+len(value) > maxData {
				return event{}, fmt.Errorf("%w: more than %d bytes of data", errTooLong, maxData)
			}
			if hasData {
				e.data = append(e.data, '\n')
			}
			e.data, hasData = append(e.data, value...), true
		case "id":
			p.setID(string(value))
		case "retry":
			p.setRetry(string(value))
		}
	}
}

// setID sets the last id, if it can be sent in a header.
func (p *parser) setID(id string) {
	if len(id) <= maxID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.lastID = id
	}
}

func (p *parser) setRetry(value string) {
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' }) {
		return
	}
	if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
		p.retry = time.Duration(ms) * time.Millisecond
	}
}

// readLine reads a line into p.line, without its ending, which is CR, LF or both. It does not wait
// for the line feed after a CR.
func (p *parser) readLine() error {
	p.line = p.line[:0]
	for {
		c, err := p.r.ReadByte()
		if err != nil {
			return err
		}
		skip := p.afterCR && c == '\n'
		p.afterCR = c == '\r'
		switch {
		case skip:
		case c == '\r', c == '\n':
			if !p.begun {
				p.begun = true
				p.line = bytes.TrimPrefix(p.line, []byte("\ufeff"))
			}
			return nil
		case len(p.line) == maxLine:
			return fmt.Errorf("%w: a line of more than %d bytes", errTooLong, maxLine)
		default:
			p.line = append(p.line, c)
		}
	}
}
