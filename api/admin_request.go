package api

import (
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"tokenbroker/broker"
	"tokenbroker/broker/operator"
)

// Lists have pages of 1 … maxPage entries.
const (
	defaultPage = 100
	maxPage     = 1000
)

// operatorRequest is what the use cases may know of an operator's request.
func operatorRequest(r *http.Request, note string) broker.Request {
	req := brokerRequest(r)
	req.Operator, req.Note = exchangeOf(r).operator, note
	return req
}

// readJSON reads the body of a request that has to have one.
func readJSON(w http.ResponseWriter, r *http.Request, want ...member) error {
	if err := checkJSON(r); err != nil {
		return err
	}
	return readMembers(w, r, want...)
}

// readNote reads {note?}, and a DELETE without a body as {}.
func readNote(w http.ResponseWriter, r *http.Request) (note string, err error) {
	if r.Method == http.MethodDelete && r.ContentLength == 0 {
		return "", nil
	}
	err = readJSON(w, r, member{"note", &note, false})
	return note, err
}

// listQuery is the query of a list.
type listQuery struct {
	values url.Values
	after  string
	limit  int
}

// readListQuery reads after and limit, and refuses any parameter that comes twice: two
// readers might take different ones. Unknown ones are ignored.
func readListQuery(r *http.Request) (listQuery, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return listQuery{}, invalidParameter("the query cannot be read")
	}
	for _, texts := range values {
		if len(texts) > 1 {
			return listQuery{}, &broker.Error{Code: CodeRepeatedParameter, Message: "a query parameter comes twice"}
		}
		if !utf8.ValidString(texts[0]) {
			return listQuery{}, invalidParameter("the query is not UTF-8")
		}
	}
	q := listQuery{values: values, after: values.Get("after"), limit: defaultPage}
	if values.Has("limit") {
		n, err := strconv.ParseUint(values.Get("limit"), 10, 16)
		if err != nil || n < 1 || n > maxPage {
			return listQuery{}, invalidParameter("limit must be 1 to " + strconv.Itoa(maxPage))
		}
		q.limit = int(n)
	}
	return q, nil
}

// flag reads a parameter that is true or false, and false when it is not there.
func (q listQuery) flag(name string) (bool, error) {
	switch text := q.values.Get(name); {
	case !q.values.Has(name) || text == "false":
		return false, nil
	case text == "true":
		return true, nil
	}
	return false, invalidParameter(name + " must be true or false")
}

func invalidParameter(detail string) error {
	return &broker.Error{Code: CodeInvalidParameter, Message: detail}
}

// writeRevoked answers what ended tokens: 202 says that it is on disk and the services are
// still to be told.
func writeRevoked(w http.ResponseWriter, revoked operator.Revoked) error {
	if !revoked.Broadcast {
		return writeJSON(w, http.StatusAccepted, revoked)
	}
	return writeJSON(w, http.StatusOK, revoked)
}
