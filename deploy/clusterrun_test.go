package deploy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenbroker/internal/longtest"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/validator"
)

// TestClusterRuns runs what docker-compose.cluster.yml and its variant with PostgreSQL describe, as processes: a session
// works at every broker, both services accept its tokens and refuse them after the log-off, also after a broker and the primary of PostgreSQL were killed.
func TestClusterRuns(t *testing.T) {
	longtest.SkipShort(t, "runs the 13 processes of docker-compose.cluster.yml")
	if raceDetector {
		t.Skip("under the race detector: the code that is tested runs in other processes")
	}
	root := installedCluster(t)
	programs := buildPrograms(t)
	t.Run("etcd", func(t *testing.T) {
		t.Parallel()
		s := newClusterSet(t, programs, root, clusterCompose(t, root))
		s.run(t, 6)
		s.start("broker-2")
		eventually(t, "broker-2 is ready", func() bool {
			status, _ := get(http.DefaultClient, s.healthURL("broker-2"), "")
			return status == http.StatusOK
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		needPostgres(t)
		s := newClusterSet(t, programs, root, postgresCompose(t, root))
		s.run(t, 3)
		s.failOver()
		s.session(t)
	})
}

// run starts all services, of which Prometheus reads this number, and has a user sign in with all brokers and without one.
func (s *clusterSet) run(t *testing.T, targets int) {
	t.Helper()
	findProgram(t, "nginx")
	findProgram(t, "prometheus")
	s.startAll()
	s.operate("broker-1", "correct horse battery\n", "users", "add", "ada")
	s.scraped(t, targets)
	s.forged(t)
	for _, name := range three("nats") {
		eventually(t, name+" has routes to the others", func() bool {
			_, body := get(http.DefaultClient, "http://"+s.addresses[name+":8222"]+"/routez", "")
			return !slices.ContainsFunc(three("nats"), func(other string) bool { return other != name && !strings.Contains(body, `"`+other+`"`) })
		})
	}
	s.session(t)
	for _, broker := range three("broker") {
		if !strings.Contains(s.processes["nginx"].out.String(), " "+s.addresses[broker+":8080"]+" ") {
			t.Errorf("nginx has sent no request to %s", broker)
		}
	}
	s.processes["broker-2"].kill()
	s.session(t)
}

// scraped waits until Prometheus has read all targets, and checks that it has the alerts.
func (s *clusterSet) scraped(t *testing.T, targets int) {
	t.Helper()
	prometheus := "http://" + s.addresses["prometheus:9090"]
	eventually(t, "Prometheus has all targets up", func() bool {
		_, body := get(http.DefaultClient, prometheus+"/api/v1/query?query="+url.QueryEscape("sum(up)"), "")
		return strings.Contains(body, fmt.Sprintf(`"%d"]`, targets))
	})
	if _, body := get(http.DefaultClient, prometheus+"/api/v1/rules", ""); !strings.Contains(body, `"alerting"`) {
		t.Errorf("Prometheus has no alerts: %s", body)
	}
}

// forged checks that a client cannot choose the address that the brokers log.
func (s *clusterSet) forged(t *testing.T) {
	t.Helper()
	eventually(t, "the sign-in is answered", func() bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.issuer()+"/auth/sign-in/", strings.NewReader(`{"username": "nobody", "password": "x"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "X-Forwarded-For": {"203.0.113.66"}, "X-Request-Id": {"chosen-by-the-client"}}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized
	})
	var logs string
	eventually(t, "a broker logs the failure", func() bool {
		logs = ""
		for _, broker := range three("broker") {
			logs += s.processes[broker].out.String()
		}
		return strings.Contains(logs, "sign_in_failed")
	})
	if strings.Contains(logs, "203.0.113.66") || strings.Contains(logs, "chosen-by-the-client") {
		t.Error("the brokers log what the client sent")
	}
}

// session signs in at nginx, refreshes at every broker that runs, and logs off at nginx: both services, and one that reads
// server-sent events through nginx, then refuse the token.
func (s *clusterSet) session(t *testing.T) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	events := s.validator(t)
	answer := s.post(t, client, s.issuer()+"/auth/sign-in/", map[string]string{"username": "ada", "password": "correct horse battery"})
	token := answer["access_token"]
	csrf := map[string]string{"CSRF_token": answer["CSRF_token"]}
	bases := []string{s.issuer(), s.issuer(), s.issuer()} // nginx chooses another broker for each request
	for _, broker := range three("broker") {
		if !s.processes[broker].ended() {
			bases = append(bases, "http://"+s.addresses[broker+":8080"])
		}
	}
	for _, base := range bases {
		token = s.post(t, client, base+"/auth/refresh/", csrf)["access_token"]
		for _, service := range []string{"service-a", "service-b"} {
			eventually(t, service+" accepts the token of a refresh at "+base, func() bool {
				status, _ := get(http.DefaultClient, "http://"+s.addresses[service+":8082"]+"/hello", token)
				return status == http.StatusOK
			})
		}
	}
	eventually(t, "a service over SSE accepts the token", func() bool {
		_, err := events.Validate(t.Context(), token)
		return err == nil
	})
	s.post(t, client, s.issuer()+"/auth/logoff/", csrf)
	for _, service := range []string{"service-a", "service-b"} {
		eventually(t, service+" refuses the token", func() bool {
			status, _ := get(http.DefaultClient, "http://"+s.addresses[service+":8082"]+"/hello", token)
			return status == http.StatusUnauthorized || status == http.StatusGone
		})
	}
	eventually(t, "a service over SSE refuses the token", func() bool {
		_, err := events.Validate(t.Context(), token)
		return err != nil
	})
}

// validator returns a service of this process that reads revocations through nginx.
func (s *clusterSet) validator(t *testing.T) *validator.Validator {
	t.Helper()
	client := validator.Client{ID: "service-a", Secret: secretsOf(t, s.root)["service_a_secret"]}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	web := &http.Client{Transport: transport}
	v, err := validator.New(t.Context(), validator.Config{
		Issuer: s.issuer(), Audience: "demo-api", Client: client, Service: "events", HTTPClient: web,
		Feed: httpfeed.Feed{URL: s.issuer(), Client: client, HTTPClient: web},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// post sends a browser's request until a broker answers it: repeating is safe, as a client does after 502 and 503.
func (s *clusterSet) post(t *testing.T, client *http.Client, target string, body map[string]string) (answer map[string]string) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, target, func() bool {
		resp, err := client.Post(target, "application/json", strings.NewReader(string(raw)))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable {
			return false
		}
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusAccepted {
			t.Fatalf("%s: %d %s", target, resp.StatusCode, text)
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatalf("%s: %v: %s", target, err, text)
		}
		answer = map[string]string{}
		for name, value := range members {
			answer[name], _ = value.(string)
		}
		return true
	})
	return answer
}

// get returns the status, 0 without an answer, and the body.
func get(client *http.Client, target, bearer string) (int, string) {
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return 0, ""
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}
