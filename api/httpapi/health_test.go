package httpapi_test

import (
	"testing"

	"tokenbroker/api/httpapi"
	"tokenbroker/api/internal/apitest"
)

func TestReadiness(t *testing.T) {
	f := &apitest.Fake{Checks: []httpapi.Check{{Name: "store", OK: true}, {Name: "nats", OK: true}}}
	h := apitest.New(t, f)
	apitest.WantJSON(t, apitest.Call(h, "GET", "/livez", ""), 200, `{"status":"ok"}`)
	apitest.WantJSON(t, apitest.Call(h, "GET", "/readyz", ""), 200, `{"status":"ready"}`)
	apitest.WantJSON(t, apitest.Call(h, "GET", "/readyz?verbose", ""), 200, `{"status":"ready","checks":[{"name":"store","ok":true},{"name":"nats","ok":true}]}`)
	f.Checks[1] = httpapi.Check{Name: "nats", OK: true, Degraded: true, Detail: "not connected"}
	apitest.WantJSON(t, apitest.Call(h, "GET", "/readyz", ""), 200, `{"status":"degraded","degraded":["nats"]}`)
	f.Checks[0].OK = false
	p := apitest.Want(t, apitest.Call(h, "GET", "/readyz/?verbose", ""), 503, "not_ready")
	if p.Detail != "not ready: store" || len(p.Checks) != 2 || p.Checks[1].Detail != "not connected" {
		t.Errorf("problem %+v", p)
	}
	if p := apitest.Want(t, apitest.Call(h, "GET", "/readyz", ""), 503, "not_ready"); p.Checks != nil {
		t.Errorf("checks without verbose: %+v", p)
	}
}
