package revocation

import (
	"strings"

	"tokenbroker/internal/plainjson"
)

// Each service parses every message, and the broker writes all of them in one form. This file parses
// headers, batches and heads of exactly that form, with the members in their order. Any other form, which
// may also be valid, is parsed by the JSON package.

// plainHeader reads a header in the form that [SignMessage] writes.
func plainHeader(text []byte) (head header, ok bool) {
	r := plainjson.NewReader(string(text))
	r.Object()
	head.Alg = plainText(&r, "alg")
	head.KID = plainText(&r, "kid")
	head.Typ = plainText(&r, "typ")
	r.End()
	return head, r.Done()
}

// plainBatch reads a batch of this version as [json.Marshal] writes it.
func plainBatch(body []byte) (b Batch, ok bool) {
	text := string(body)
	r := plainjson.NewReader(text)
	r.Object()
	plainField(&r, "v")
	if b.V = Version; r.Int64() != Version {
		return Batch{}, false
	}
	b.Store = strings.Clone(plainText(&r, "store"))
	b.Origin = strings.Clone(plainText(&r, "origin"))
	plainField(&r, "seq")
	b.Seq = r.Uint64(64)
	b.At = plainNumber(&r, "at")
	plainField(&r, "events")
	b.Events = make([]Event, 0, min(1+strings.Count(text, "},{"), MaxBatchEvents))
	for r.Array(); r.More(); {
		if len(b.Events) == MaxBatchEvents {
			return Batch{}, false
		}
		b.Events = append(b.Events, plainEvent(&r))
	}
	if r.Field("ack") {
		b.Ack = r.Bool()
	}
	r.End()
	return b, r.Done()
}

// plainHeads reads at most [MaxOrigins] heads. The names share memory with text.
func plainHeads(text string) (heads map[string]uint64, ok bool) {
	r := plainjson.NewReader(text)
	r.Object()
	heads = make(map[string]uint64, min(1+strings.Count(text, ","), MaxOrigins))
	for name, ok := r.Name(); ok; name, ok = r.Name() {
		if _, twice := heads[name]; twice || len(heads) == MaxOrigins {
			return nil, false
		}
		heads[name] = r.Uint64(64)
	}
	return heads, r.Done()
}

func plainEvent(r *plainjson.Reader) (e Event) {
	r.Object()
	code := kindCode(Kind(plainText(r, "kind")))
	if code == 0 {
		r.Fail()
	}
	e.Kind = kindCodes[code]
	e.Value = strings.Clone(plainText(r, "value")) // the denylist may keep it, but must not keep the message
	e.ExpiresAt = plainNumber(r, "expires_at")
	e.At = plainNumber(r, "at")
	reason := Reason(plainText(r, "reason"))
	if code := reasonCode(reason); code > 0 {
		e.Reason = reasonCodes[code]
	} else {
		e.Reason = Reason(strings.Clone(string(reason)))
	}
	if r.Field("epoch") {
		e.Epoch = r.Int64()
	}
	r.End()
	return e
}

func plainField(r *plainjson.Reader, name string) {
	if !r.Field(name) {
		r.Fail()
	}
}

func plainText(r *plainjson.Reader, name string) string {
	plainField(r, name)
	return r.String()
}

func plainNumber(r *plainjson.Reader, name string) int64 {
	plainField(r, name)
	return r.Int64()
}
