package api

import (
	"net/http"
	"net/url"
	"time"

	"tokenbroker/broker"
)

// maxWait bounds how long an answer may wait for the services' receipts.
const maxWait = 10 * time.Second

// waiting sets req.Wait from the query's wait, a duration as Go writes it ("2s", "500ms");
// without it the answer waits for no receipts.
func waiting(r *http.Request, req broker.Request) (broker.Request, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return req, invalidParameter("the query cannot be read")
	}
	switch given := values["wait"]; len(given) {
	case 0:
		return req, nil
	case 1:
		if req.Wait, err = time.ParseDuration(given[0]); err != nil || req.Wait <= 0 || req.Wait > maxWait {
			return req, invalidParameter("wait must be a duration above 0 and up to " + maxWait.String() + ", for example 2s")
		}
		return req, nil
	}
	return req, &broker.Error{Code: CodeRepeatedParameter, Message: "wait comes twice"}
}

// revokingRequest is [operatorRequest] for what ends tokens.
func revokingRequest(r *http.Request, note string) (broker.Request, error) {
	return waiting(r, operatorRequest(r, note))
}
