package api_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
)

var services = broker.ReceiptSummary{Applied: 1, Of: 2, SlowestMS: 6, Laggards: []string{"billing/ab12cd34"}}

const servicesJSON = `"applied":1,"of":2,"slowest_ms":6,"laggards":["billing/ab12cd34"]`

var badWaits = []string{"", "2", "0s", "-1s", "10.001s", "1h", "soon", "2s&wait=2s", "%zz"}

func TestLogOffWaits(t *testing.T) {
	f := &fake{logOff: broker.LogOffResult{Ended: true, Broadcast: true, LogoutURL: "https://idp.example/out", Receipts: &services}}
	wantJSON(t, call(newAPI(t, f), "POST", "/auth/logoff/?wait=1.5s", `{"CSRF_token":"c"}`, "Cookie: "+cookie), 200,
		`{"logout_url":"https://idp.example/out","applied":1,"of":2,"slowest_ms":6}`)
	if len(services.Laggards) != 1 {
		t.Error("the broker's own summary was changed")
	}
	if f.req.Wait != 1500*time.Millisecond {
		t.Errorf("waits %s", f.req.Wait)
	}
	f.logOff = broker.LogOffResult{Ended: true, Receipts: &broker.ReceiptSummary{}}
	wantJSON(t, call(newAPI(t, f), "POST", "/auth/logoff?wait=10s", "{}", "Cookie: "+cookie), 202, `{"applied":0,"of":0,"slowest_ms":0}`)
	f.logOff = broker.LogOffResult{Ended: true, Broadcast: true}
	wantJSON(t, call(newAPI(t, f), "POST", "/auth/logoff", "{}", "Cookie: "+cookie), 200, "{}")
	if f.req.Wait != 0 {
		t.Errorf("unasked it waits %s", f.req.Wait)
	}
	for _, wait := range badWaits {
		f := &fake{}
		code := "invalid_parameter"
		if strings.Contains(wait, "&") {
			code = "repeated_parameter"
		}
		res := call(newAPI(t, f), "POST", "/auth/logoff/?wait="+wait, "{}", "Cookie: "+cookie)
		want(t, res, 400, code)
		if len(f.calls) > 0 || len(res.Cookies()) > 0 {
			t.Errorf("%q: calls %v, cookies %v", wait, f.calls, res.Cookies())
		}
	}
}

func TestOperatorsWait(t *testing.T) {
	waited := 0
	for _, op := range operations() {
		bulk := strings.HasSuffix(op.path, "/bulk")
		if op.answer != revokedJSON && !bulk {
			continue
		}
		waited++
		f := &fakeOperators{revoked: done()}
		f.revoked.ReceiptSummary = &services
		answer := strings.TrimSuffix(op.answer, "}") + "," + servicesJSON + "}"
		wantJSON(t, callAdmin(t, newAdmin(f), op.method, op.path+"?wait=2s", op.body), 200, answer)
		if f.req.Wait != 2*time.Second || f.req.Operator != "token" || f.req.Note != op.note {
			t.Errorf("%s: request %+v", op.path, f.req)
		}
		for _, wait := range badWaits {
			f := &fakeOperators{revoked: done()}
			if res := callAdmin(t, newAdmin(f), op.method, op.path+"?wait="+wait, op.body); res.StatusCode != 400 || f.asked != "" {
				t.Errorf("%s?wait=%s: %d, asked %q", op.path, wait, res.StatusCode, f.asked)
			}
		}
	}
	if waited < 10 {
		t.Errorf("looked at %d operations", waited)
	}
	d := adminDocument(t)
	for _, op := range operations() {
		parameters, _ := d.operation(op.method, op.pattern)["parameters"].([]any)
		documented := slices.ContainsFunc(parameters, func(p any) bool { return d.at(p)["name"] == "wait" })
		if documented != (op.answer == revokedJSON || strings.HasSuffix(op.path, "/bulk") || op.pattern == "/admin/v1/keys/{kid}/revoke") {
			t.Errorf("%s %s: wait documented: %v", op.method, op.path, documented)
		}
	}
}

func TestReceiptsOfServices(t *testing.T) {
	const receipt = `{"v":1,"service":"billing/ab12cd34","applied":{"o1":6},"fresh":true,"age_ms":12}`
	basic := "Authorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ="
	f := &fake{}
	for _, path := range []string{"/revocations/receipt", "/revocations/receipt/"} {
		f.receipt = ""
		res := call(newAPI(t, f), "POST", path, receipt, basic)
		if res.StatusCode != 204 || res.Header.Get("Cache-Control") != "no-store" || f.receipt != "demo-service "+receipt {
			t.Errorf("%s: %d %v, took %q", path, res.StatusCode, res.Header, f.receipt)
		}
	}
	big := strings.Repeat(" ", 4097)
	f.receipt = ""
	// The order of refusal: every row has all the faults of the rows after it.
	want(t, call(newAPI(t, f), "POST", "/revocations/receipt", big, "Content-Type: text/plain"), 401, "invalid_client")
	want(t, call(newAPI(t, f), "POST", "/revocations/receipt", big, "Content-Type: text/plain", basic), 415, "unsupported_media_type")
	want(t, call(newAPI(t, f), "POST", "/revocations/receipt", big, basic), 413, "body_too_large")
	if f.receipt != "" {
		t.Errorf("took %q", f.receipt)
	}
	f.err = &broker.Error{Code: broker.CodeBusy, RetryAfter: time.Minute}
	if res := call(newAPI(t, f), "POST", "/revocations/receipt", receipt, basic); res.Header.Get("Retry-After") != "60" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	f = &fake{clientErr: &broker.Error{Code: broker.CodeInvalidClient}}
	want(t, call(newAPI(t, f), "POST", "/revocations/receipt", receipt, "Authorization: Basic "+url.QueryEscape("eDp5")), 401, "invalid_client")
}
