package api_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"tokenbroker/api"
)

// The operator finds the origin to be added in the log; the answer does not repeat it.
func TestARefusedOriginIsNamedInTheLog(t *testing.T) {
	long := "http://" + strings.Repeat("a", 4000) + ".example"
	for name, tt := range map[string]struct {
		method, origin string
		headers        []string
		want           string
	}{
		"sign-in":    {"POST", "http://localhost:5173", nil, `origin \"http://localhost:5173\" is not allowed: if a page of yours is there, add it to origins`},
		"pre-flight": {"OPTIONS", "http://localhost:5173", []string{"Access-Control-Request-Method: POST"}, `origin \"http://localhost:5173\" is not allowed`},
		"long":       {"POST", long, nil, long[:128] + `...\"`},
		"hostile":    {"POST", "http://x\u202e\" level=INFO", nil, `\\u202e`},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			h := newAPI(t, &fake{}, func(c *api.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			res := call(h, tt.method, "/auth/sign-in/", `{"username":"ada","password":"x"}`, append(tt.headers, "Origin: "+tt.origin)...)
			want(t, res, 403, "forbidden_origin")
			if !strings.Contains(log.String(), tt.want) || strings.Count(log.String(), "\n") != 1 || log.Len() > 700 {
				t.Errorf("the log: %s", &log)
			}
		})
	}
}
