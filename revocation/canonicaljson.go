package revocation

import "bytes"

// Every service parses every message, and the broker writes all of them alike: this file
// reads a header and a batch of exactly that form, member by member in its order. All else,
// which may be as good, is not ok here and left to the JSON package.

// canonical is what is left of a text; bad once something else was met than expected.
type canonical struct {
	rest []byte
	bad  bool
}

// is takes a literal, and reports whether it stood there.
func (c *canonical) is(literal string) bool {
	if len(c.rest) < len(literal) || string(c.rest[:len(literal)]) != literal {
		return false
	}
	c.rest = c.rest[len(literal):]
	return true
}

// want takes a literal that has to stand there.
func (c *canonical) want(literal string) { c.bad = !c.is(literal) || c.bad }

// text takes a string after the literal before it: printable ASCII without escapes.
func (c *canonical) text(before string) []byte {
	c.want(before)
	end := bytes.IndexByte(c.rest, '"')
	if end < 0 {
		c.bad = true
		return nil
	}
	text := c.rest[:end]
	c.rest = c.rest[end+1:]
	for _, b := range text {
		c.bad = c.bad || b < ' ' || b > '~' || b == '\\'
	}
	return text
}

// number takes a number after the literal before it: up to 18 digits, as they are written.
func (c *canonical) number(before string) int64 {
	c.want(before)
	var n int64
	digits := 0
	for digits < len(c.rest) && c.rest[digits] >= '0' && c.rest[digits] <= '9' && digits < 19 {
		n = 10*n + int64(c.rest[digits]-'0')
		digits++
	}
	c.bad = c.bad || digits == 0 || digits == 19 || digits > 1 && c.rest[0] == '0'
	c.rest = c.rest[digits:]
	return n
}

// canonicalHeader reads what [SignMessage] writes.
func canonicalHeader(text []byte) (head header, ok bool) {
	c := canonical{rest: text}
	c.want(`{"alg":"EdDSA",`)
	kid := c.text(`"kid":"`)
	typ := c.text(`,"typ":"`)
	c.want(`}`)
	if c.bad || len(c.rest) > 0 {
		return header{}, false
	}
	return header{Alg: "EdDSA", KID: string(kid), Typ: string(typ)}, true
}

// canonicalBatch reads a batch of this version as [json.Marshal] writes it.
func canonicalBatch(text []byte) (b Batch, ok bool) {
	c := canonical{rest: text}
	c.want(`{"v":1,`)
	b.V = Version
	b.Store = string(c.text(`"store":"`))
	b.Origin = string(c.text(`,"origin":"`))
	b.Seq = uint64(c.number(`,"seq":`))
	b.At = c.number(`,"at":`)
	c.want(`,"events":[`)
	b.Events = make([]Event, 0, min(1+bytes.Count(c.rest, []byte("},{")), MaxBatchEvents))
	for !c.bad && !c.is(`]`) {
		if len(b.Events) == MaxBatchEvents {
			return Batch{}, false
		}
		if len(b.Events) > 0 {
			c.want(`,`)
		}
		b.Events = append(b.Events, c.event())
	}
	b.Ack = c.is(`,"ack":true`)
	c.want(`}`)
	if c.bad || len(c.rest) > 0 {
		return Batch{}, false
	}
	return b, true
}

func (c *canonical) event() (e Event) {
	code := kindCode(Kind(c.text(`{"kind":"`)))
	e.Kind = kindCodes[code]
	c.bad = c.bad || code == 0
	e.Value = string(c.text(`,"value":"`))
	e.ExpiresAt = c.number(`,"expires_at":`)
	e.At = c.number(`,"at":`)
	reason := c.text(`,"reason":"`)
	if code := reasonCode(Reason(reason)); code > 0 {
		e.Reason = reasonCodes[code]
	} else {
		e.Reason = Reason(reason)
	}
	if len(c.rest) > 0 && c.rest[0] == ',' {
		e.Epoch = c.number(`,"epoch":`)
	}
	c.want(`}`)
	return e
}
