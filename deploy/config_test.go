package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenbroker/config"
)

// The broker's configuration in docker-compose.yml is accepted as the container sees it.
func TestConfigurationIsAccepted(t *testing.T) {
	root := install(t)
	broker := compose(t, root).Services["broker"]
	file := filepath.Join(root, "deploy", "tokenbroker.yaml")
	text := read(t, "deploy/tokenbroker.yaml")
	for _, s := range broker.Secrets {
		text = strings.ReplaceAll(text, "/run/secrets/"+s.Source, filepath.Join(root, "deploy", "secrets", s.Source))
	}
	if strings.Contains(text, "/run/secrets/") {
		t.Error("the configuration names a secret that the container does not get")
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Options{File: file, Environ: []string{"TOKENBROKER_DATA_DIR=/var/lib/tokenbroker"}})
	if err != nil {
		t.Fatal(err)
	}
	made := secretsOf(t, root)
	for name, got := range map[string]config.Secret{
		"kek":                  loaded.Config.Keyring.KEK,
		"admin_token":          loaded.Config.Admin.Token,
		"metrics_token":        loaded.Config.Admin.MetricsToken,
		"nats_broker_password": loaded.Config.NATS.Password,
		"service_a_secret":     loaded.Config.Clients["service-a"].Secret,
		"service_b_secret":     loaded.Config.Clients["service-b"].Secret,
	} {
		if got.Reveal() != made[name] || made[name] == "" {
			t.Errorf("%s does not reach the configuration", name)
		}
	}
	for _, flag := range []string{"-issuer=" + loaded.Config.PublicURL, "-nats=" + loaded.Config.NATS.URL} {
		for _, name := range []string{"service-a", "service-b"} {
			if !strings.Contains(strings.Join(compose(t, root).Services[name].Command, " ")+" ", flag+" ") {
				t.Errorf("%s has no %s", name, flag)
			}
		}
	}
}

// The variables of the systemd unit, including commented ones, are variables of the configuration.
func TestUnitVariablesAreKnown(t *testing.T) {
	root := install(t)
	secrets := filepath.Join(root, "deploy", "secrets")
	environ := []string{"TOKENBROKER_NATS_URL=tls://nats.example.com:4222", "TOKENBROKER_NATS_USER=broker", "TOKENBROKER_PUBLIC_URL=https://id.example.com"}
	for _, line := range strings.Split(read(t, "deploy/tokenbroker.service"), "\n") {
		if variable, ok := strings.CutPrefix(strings.TrimPrefix(line, "#"), "Environment="); ok {
			variable = strings.ReplaceAll(variable, "%d/nats_password", "%d/nats_broker_password")
			environ = append(environ, strings.ReplaceAll(variable, "%d", secrets))
		}
	}
	if len(environ) != 3+5 {
		t.Fatalf("the unit has the variables %q", environ[3:])
	}
	_, err := config.Load(config.Options{Environ: environ})
	if err != nil && strings.Contains(err.Error(), "no variable of the configuration") {
		t.Error(err)
	}
}
