package api

import "testing"

// FuzzScanMembers: what a scan takes, parseMembers reads alike.
func FuzzScanMembers(f *testing.F) {
	for _, body := range []string{
		`{"CSRF_token":"abc"}`, ` { "a" : "" , "CSRF_token" : "b c" } `, `{}`, `{"a":"1","a":"2"}`, `{"a":"\u0041"}`, `{"a":1}`, `{"list":"x"}`,
		`{"a":"é"}`, `{"a":"b"}x`, `{"a":"b",}`, `{"a":"b"`, `{"1":"","2":"","3":"","4":"","5":""}`, "{\"a\":\"\x7f\"}",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var got, want [2]string
		var gotList, wantList []string
		members := func(v *[2]string, list *[]string) []member {
			return []member{{"a", &v[0], false}, {"CSRF_token", &v[1], false}, {"list", list, false}}
		}
		if !scanMembers(body, members(&got, &gotList)) {
			if got != [2]string{} || gotList != nil {
				t.Errorf("gave up on %q and set %q", body, got)
			}
			return
		}
		if err := parseMembers([]byte(body), members(&want, &wantList)); err != nil || got != want || wantList != nil {
			t.Errorf("%q: scanned %q, want %q, %v", body, got, want, err)
		}
	})
}

func TestAScanTakesWhatClientsSend(t *testing.T) {
	var csrf string
	if !scanMembers(`{"CSRF_token":"abc-_"}`, []member{{"CSRF_token", &csrf, false}}) || csrf != "abc-_" {
		t.Errorf("not scanned: %q", csrf)
	}
}
