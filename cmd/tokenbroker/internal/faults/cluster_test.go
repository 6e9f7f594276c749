package faults_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"tokenbroker/internal/freeport"
	"tokenbroker/revocation"
	"tokenbroker/revocation/httpfeed"
	"tokenbroker/revocation/natsfeed"
	"tokenbroker/store/etcdstore/member"
	"tokenbroker/validator"
)

const (
	// size is the number of brokers, and of etcd members or PostgreSQL servers.
	size = 3
	// serviceClient and serviceSecret are the account of the services and of introspection.
	serviceClient, serviceSecret = "service", "a-secret-of-thirty-two-characters"
	audience                     = "api"
	password                     = "correct horse battery"
)

// cluster is three brokers on three etcd members or PostgreSQL servers, each a process of its own, and a NATS server in the
// tests' process. Every connection of a broker or between members goes through a link. Clients reach a broker at its own
// address, or any of them through the balancer at the issuer's address.
type cluster struct {
	t           *testing.T // the processes end with it
	dir, issuer string
	urls        []string // of the brokers
	brokers     []*process
	members     []*process
	users       []string

	engine [][]*link                     // engine[i][j] is the link of broker i to etcd member or PostgreSQL server j
	store  func(servers []string) string // the configuration of the engine whose servers have these addresses
	nats   []*link                       // of broker i to NATS
	peers  []*link                       // of the other etcd members to member j

	natsURL string   // direct
	clients []string // client URLs of the members, direct
	configs []member.Config
	pg      *postgres
}

// newCluster starts a cluster on etcd.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	needProcesses(t)
	c := &cluster{t: t, dir: t.TempDir(), brokers: make([]*process, size), members: make([]*process, size)}
	c.startMembers(t)
	var addrs []string
	for _, url := range c.clients {
		addrs = append(addrs, strings.TrimPrefix(url, "http://"))
	}
	c.store = func(servers []string) string {
		return "engine: etcd, etcd: {endpoints: [http://" + strings.Join(servers, ", http://") + "]}"
	}
	c.start(t, addrs, func() {})
	return c
}

// start starts the brokers on an engine whose servers have these addresses, and adds the users of the clients. It calls prepare
// before it starts the first broker, whose configuration is there.
func (c *cluster) start(t *testing.T, servers []string, prepare func()) {
	t.Helper()
	natsAddr := startNATS(t)
	c.natsURL = "nats://" + natsAddr
	for i := range size {
		c.nats = append(c.nats, newLink(t, "127.0.0.1:0", natsAddr))
		c.engine = append(c.engine, nil)
		for _, addr := range servers {
			c.engine[i] = append(c.engine[i], newLink(t, "127.0.0.1:0", addr))
		}
	}
	for _, port := range freeport.Take(t, size) {
		c.urls = append(c.urls, "http://127.0.0.1:"+port)
	}
	c.issuer = newBalancer(t, c.urls)
	for i := range size {
		c.configure(t, i)
		if i == 0 {
			prepare()
		}
		c.startBroker(t, i)
		c.brokers[i].ready(t, brokerReady)
	}
	c.allReady(t)
	for i := range 8 {
		c.users = append(c.users, fmt.Sprint("user", i))
		c.operate(t, 0, password+"\n", "users", "add", c.users[i])
	}
}

func startNATS(t *testing.T) (addr string) {
	t.Helper()
	ns, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(patience) {
		t.Fatal("NATS is not ready")
	}
	return ns.Addr().String()
}

// startMembers starts the etcd members and waits until they serve.
func (c *cluster) startMembers(t *testing.T) {
	t.Helper()
	ports, peers := freeport.Take(t, 2*size), map[string]string{}
	for j := range size {
		name := fmt.Sprint("m", j)
		c.clients = append(c.clients, "http://127.0.0.1:"+ports[2*j])
		c.peers = append(c.peers, newLink(t, "127.0.0.1:0", "127.0.0.1:"+ports[2*j+1]))
		peers[name] = "http://" + c.peers[j].addr
		c.configs = append(c.configs, member.Config{
			Name: name, Dir: filepath.Join(c.dir, name), ClientURL: c.clients[j], PeerURL: peers[name],
			ListenPeerURL: "http://127.0.0.1:" + ports[2*j+1], Peers: peers,
		})
	}
	for j := range size {
		c.startMember(t, j)
	}
	for _, m := range c.members {
		m.ready(t, memberReady)
	}
}

// startMember starts an etcd member. It does not wait, because a first member can only serve with a second one.
func (c *cluster) startMember(t *testing.T, j int) {
	t.Helper()
	config, err := json.Marshal(c.configs[j])
	if err != nil {
		t.Fatal(err)
	}
	c.members[j] = startProcess(c.t, fmt.Sprint("etcd member ", j), []string{memberEnv + "=" + string(config)}, os.Args[0])
}

// brokerReady is what a broker prints when it serves, degraded or not.
const brokerReady = "tokenbroker is ready"

func (c *cluster) data(i int) string { return filepath.Join(c.dir, fmt.Sprint("data", i)) }

func (c *cluster) configFile(i int) string {
	return filepath.Join(c.dir, fmt.Sprintf("broker%d.yaml", i))
}

// configure writes the configuration of a broker, whose keys it lists in full so that a test can change one.
func (c *cluster) configure(t *testing.T, i int) {
	t.Helper()
	var servers []string
	for _, l := range c.engine[i] {
		servers = append(servers, l.addr)
	}
	text := fmt.Sprintf(`public_url: %s
listen: %s
data_dir: %s
admin: {listen: ""}
tokens: {audience: [%s]}
browser: {client: spa}
clients:
  spa: {public: true}
  %s: {secret: %s}
lifetimes: {refresh_grace: 5m, access_token: 15m} # longer than a test
keyring: {kek: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}
nats: {url: "nats://%s"}
store: {broker_name: b%d, %s}
`, c.issuer, strings.TrimPrefix(c.urls[i], "http://"), c.data(i), audience, serviceClient, serviceSecret, c.nats[i].addr, i, c.store(servers))
	if err := os.WriteFile(c.configFile(i), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startBroker starts broker i, with more environment variables if a test needs some. It does not wait.
func (c *cluster) startBroker(t *testing.T, i int, env ...string) {
	t.Helper()
	program, err := brokerProgram()
	if err != nil {
		t.Fatal(err)
	}
	c.brokers[i] = startProcess(c.t, fmt.Sprint("broker ", i), env, program, "serve", "--config", c.configFile(i))
}

// operate runs an operator's command at broker i and returns what it prints.
func (c *cluster) operate(t *testing.T, i int, stdin string, args ...string) string {
	t.Helper()
	program, err := brokerProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, program, append(args, "--data-dir", c.data(i))...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v at broker %d: %v: %s", args, i, err, out)
	}
	return string(out)
}

// ready reports whether broker i is.
func (c *cluster) ready(t *testing.T, i int) bool {
	return c.status(t, i, "/readyz") == http.StatusOK
}

// allReady waits until every broker is ready.
func (c *cluster) allReady(t *testing.T) {
	t.Helper()
	for i := range size {
		eventually(t, fmt.Sprintf("broker %d is ready", i), func() bool { return c.ready(t, i) })
	}
}

// watched is a service with the log of its states.
type watched struct {
	*validator.Validator
	log *output
}

// stales returns how often the service became stale.
func (w watched) stales() int { return w.log.count("revocations are not known to be current") }

// service starts a service over "nats" or "sse", or one that only polls, over "poll".
func (c *cluster) service(t *testing.T, feed string, maxStaleness time.Duration) watched {
	t.Helper()
	client := validator.Client{ID: serviceClient, Secret: serviceSecret}
	w := watched{log: &output{}}
	config := validator.Config{
		Issuer: c.issuer, Audience: audience, Client: client, Service: "service-" + feed, MaxStaleness: maxStaleness,
		Logger: slog.New(slog.NewTextHandler(w.log, nil)), HTTPClient: &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()},
	}
	config.Feed = map[string]revocation.Feed{
		"nats": natsfeed.Feed{URL: c.natsURL}, "poll": natsfeed.Feed{URL: "nats://127.0.0.1:1"}, "sse": httpfeed.Feed{URL: c.issuer, Client: client, HTTPClient: config.HTTPClient, Logger: config.Logger},
	}[feed]
	var err error
	if w.Validator, err = validator.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}
