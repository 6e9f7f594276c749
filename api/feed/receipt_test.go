package feed_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"tokenbroker/api/internal/apitest"
	"tokenbroker/broker"
)

func TestReceiptsOfServices(t *testing.T) {
	const receipt = `{"v":1,"service":"billing/ab12cd34","applied":{"o1":6},"fresh":true,"age_ms":12}`
	basic := "Authorization: Basic ZGVtby1zZXJ2aWNlOmRlbW8tc2VydmljZS1zZWNyZXQ="
	f := &apitest.Fake{}
	for _, path := range []string{"/revocations/receipt", "/revocations/receipt/"} {
		f.ReceiptBody = ""
		res := apitest.Call(apitest.New(t, f), "POST", path, receipt, basic)
		if res.StatusCode != 204 || res.Header.Get("Cache-Control") != "no-store" || f.ReceiptBody != "demo-service "+receipt {
			t.Errorf("%s: %d %v, took %q", path, res.StatusCode, res.Header, f.ReceiptBody)
		}
	}
	big := strings.Repeat(" ", 4097)
	f.ReceiptBody = ""
	// The order of refusal: every row has all the faults of the rows after it.
	apitest.Want(t, apitest.Call(apitest.New(t, f), "POST", "/revocations/receipt", big, "Content-Type: text/plain"), 401, "invalid_client")
	apitest.Want(t, apitest.Call(apitest.New(t, f), "POST", "/revocations/receipt", big, "Content-Type: text/plain", basic), 415, "unsupported_media_type")
	apitest.Want(t, apitest.Call(apitest.New(t, f), "POST", "/revocations/receipt", big, basic), 413, "body_too_large")
	if f.ReceiptBody != "" {
		t.Errorf("took %q", f.ReceiptBody)
	}
	f.Err = &broker.Error{Code: broker.CodeBusy, RetryAfter: time.Minute}
	if res := apitest.Call(apitest.New(t, f), "POST", "/revocations/receipt", receipt, basic); res.Header.Get("Retry-After") != "60" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	f = &apitest.Fake{ClientErr: &broker.Error{Code: broker.CodeInvalidClient}}
	apitest.Want(t, apitest.Call(apitest.New(t, f), "POST", "/revocations/receipt", receipt, "Authorization: Basic "+url.QueryEscape("eDp5")), 401, "invalid_client")
}
