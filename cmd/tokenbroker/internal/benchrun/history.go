package benchrun

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"tokenbroker/broker"
)

// generation returns the generation in a refresh cookie ("name=value"): the number of rotations plus one. It does
// not check the token's MAC.
func generation(cookie string) (uint32, bool) {
	const offset = 2 * broker.IDBytes // broker/credential: uid, sid, generation
	_, token, _ := strings.Cut(cookie, "=")
	encoded, ok := strings.CutPrefix(token, "rt1.")
	b, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil || len(b) < offset+4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[offset:]), true
}

// outcome is how a broker answered a request of a session.
type outcome int

const (
	accepted   outcome = iota
	refused            // the session or its token is not valid
	unanswered         // no answer, or one that says that the broker cannot answer now: the change may have been made
	unsent             // connecting failed
)

func outcomeOf(err error) outcome {
	var status *statusError
	var network *net.OpError
	switch {
	case err == nil:
		return accepted
	case errors.As(err, &status) && status.status < http.StatusInternalServerError && status.status != http.StatusTooManyRequests:
		return refused
	case errors.As(err, &network) && network.Op == "dial":
		return unsent
	}
	return unanswered
}

// verdict is what an answer to a refresh says about the promises of the brokers.
type verdict int

const (
	kept verdict = iota
	lost
	doubleSuccessor
	staleRead
	lateCheck // an access token was accepted after the log-off of its session
	expired   // the session ended because an earlier refresh was not answered within the grace
)

// leastGrace is the shortest grace that brokers of one store accept. A token that was superseded longer ago may be
// refused as reused.
const leastGrace = 5 * time.Second

// judgement is what the client of a session knows when the answer to a refresh arrives.
type judgement struct {
	// presented is the generation of the presented token, acknowledged the highest one of all answers that had
	// arrived when the request was sent.
	presented, acknowledged uint32
	// sent is the highest generation that was ever presented. Only a presented generation is superseded, so the
	// session's generation is at most one higher.
	sent uint32
	// supersedable is how long ago the presented token may have been superseded: 0 if it was the latest one and no
	// earlier attempt with it went unanswered.
	supersedable time.Duration
}

// answered judges an answer with a new token of that generation.
func (j judgement) answered(got uint32) verdict {
	switch {
	case got < j.acknowledged || got <= j.presented:
		return staleRead
	case got > j.sent+1:
		return doubleSuccessor
	}
	return kept
}

// refused judges the refusal of a token of a session that was not logged off.
func (j judgement) refused() verdict {
	if j.supersedable >= leastGrace {
		return expired
	}
	return lost
}
