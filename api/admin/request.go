package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"unicode/utf8"

	"tokenbroker/api/httpapi"
	"tokenbroker/broker"
	"tokenbroker/broker/operator"
)

// Lists have pages of 1 … maxPage entries.
const (
	defaultPage = 100
	maxPage     = 1000
)

// operatorRequest returns the description of an operator's request for the use cases.
func operatorRequest(r *http.Request, note string) broker.Request {
	req := httpapi.BrokerRequest(r)
	req.Operator, req.Note = httpapi.EntryOf(r).Operator, note
	return req
}

// readJSON reads the body of a request that must have one.
func readJSON(w http.ResponseWriter, r *http.Request, want ...httpapi.Member) error {
	if err := httpapi.CheckJSON(r); err != nil {
		return err
	}
	return httpapi.ReadMembers(w, r, want...)
}

// readNote reads {note?}, and a DELETE without a body as {}.
func readNote(w http.ResponseWriter, r *http.Request) (note string, err error) {
	if r.Method == http.MethodDelete && r.ContentLength == 0 {
		return "", nil
	}
	err = readJSON(w, r, httpapi.Optional("note", &note))
	return note, err
}

// listQuery is the query of a list.
type listQuery struct {
	values url.Values
	after  string
	limit  int
}

// readListQuery reads after and limit, and refuses any parameter that occurs twice, because two
// readers might use different values. It ignores unknown parameters.
func readListQuery(r *http.Request) (listQuery, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return listQuery{}, httpapi.InvalidParameter("the query cannot be parsed")
	}
	for _, texts := range values {
		if len(texts) > 1 {
			return listQuery{}, &broker.Error{Code: httpapi.CodeRepeatedParameter, Message: "a query parameter occurs twice; send it once"}
		}
		if !utf8.ValidString(texts[0]) {
			return listQuery{}, httpapi.InvalidParameter("the query is not UTF-8")
		}
	}
	q := listQuery{values: values, after: values.Get("after"), limit: defaultPage}
	if values.Has("limit") {
		n, err := strconv.ParseUint(values.Get("limit"), 10, 16)
		if err != nil || n < 1 || n > maxPage {
			return listQuery{}, httpapi.InvalidParameter("limit must be 1 to " + strconv.Itoa(maxPage))
		}
		q.limit = int(n)
	}
	return q, nil
}

// flag reads a parameter that is true or false. If it is missing, it is false.
func (q listQuery) flag(name string) (bool, error) {
	switch text := q.values.Get(name); {
	case !q.values.Has(name) || text == "false":
		return false, nil
	case text == "true":
		return true, nil
	}
	return false, httpapi.InvalidParameter(name + " must be true or false")
}

// revokingRequest is [operatorRequest] for an endpoint that ends tokens; it reads the query's wait.
func revokingRequest(r *http.Request, note string) (broker.Request, error) {
	return httpapi.WithWait(r, operatorRequest(r, note))
}

// writeRevoked answers an endpoint that has ended tokens. If the broadcast is pending, the status
// is 202: the end is on disk, and the services are not notified yet.
func writeRevoked(w http.ResponseWriter, broadcast bool, answer any) error {
	if !broadcast {
		return httpapi.WriteJSON(w, http.StatusAccepted, answer)
	}
	return httpapi.WriteJSON(w, http.StatusOK, answer)
}

// revokeWith answers an endpoint that reads {note?} and ends tokens.
func revokeWith(w http.ResponseWriter, r *http.Request, revoke func(ctx context.Context, req broker.Request) (operator.Revoked, error)) error {
	note, err := readNote(w, r)
	if err != nil {
		return err
	}
	req, err := revokingRequest(r, note)
	if err != nil {
		return err
	}
	revoked, err := revoke(r.Context(), req)
	if err != nil {
		return err
	}
	return writeRevoked(w, revoked.Broadcast, revoked)
}
