package deploy_test

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile, with its continuation lines joined.
type instruction struct{ name, args string }

// stages returns the instructions of each FROM of the Dockerfile.
func stages(t *testing.T) [][]instruction {
	t.Helper()
	var out [][]instruction
	var pending string
	for _, line := range strings.Split(read(t, "Dockerfile"), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if cut, ok := strings.CutSuffix(line, "\\"); ok {
			pending += cut
			continue
		}
		name, args, _ := strings.Cut(pending+line, " ")
		pending = ""
		if name == "FROM" {
			out = append(out, nil)
		}
		if len(out) == 0 {
			t.Fatalf("%s before the first FROM", name)
		}
		out[len(out)-1] = append(out[len(out)-1], instruction{name, strings.TrimSpace(args)})
	}
	if len(out) < 2 {
		t.Fatalf("%d stages: the build stage must not be the final image", len(out))
	}
	return out
}

// all returns the arguments of the instructions of that name.
func all(stage []instruction, name string) (args []string) {
	for _, i := range stage {
		if i.name == name {
			args = append(args, i.args)
		}
	}
	return args
}

func TestImageHoldsTheBinariesAndNoShell(t *testing.T) {
	parts := stages(t)
	last := parts[len(parts)-1]
	if from := all(last, "FROM"); from[0] != "scratch" {
		t.Errorf("the image is built on %s", from[0])
	}
	if runs := all(last, "RUN"); len(runs) > 0 {
		t.Errorf("RUN in an image without a shell: %q", runs)
	}
	copies := strings.Join(all(last, "COPY"), "\n")
	for _, want := range []string{"/out/tokenbroker /tokenbroker", "/out/service /service",
		"/etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt", "--chown=65532:65532 /out/data /var/lib/tokenbroker"} {
		if !strings.Contains(copies, want) {
			t.Errorf("the image has no %s", want)
		}
	}
	for _, c := range all(last, "COPY") {
		if !strings.HasPrefix(c, "--from=build ") {
			t.Errorf("COPY %s: from the build context, which may contain any file", c)
		}
	}
	for _, want := range []string{"CGO_ENABLED=0", "-tags nodev", "-trimpath", "./cmd/tokenbroker", "./examples/service", "--mount=type=cache"} {
		if !strings.Contains(read(t, "Dockerfile"), want) {
			t.Errorf("the build has no %s", want)
		}
	}
}

func TestImageRunsAsAnUnprivilegedUser(t *testing.T) {
	parts := stages(t)
	last := parts[len(parts)-1]
	users := all(last, "USER")
	if len(users) != 1 {
		t.Fatalf("USER: %q", users)
	}
	for _, id := range strings.Split(users[0], ":") {
		if n, err := strconv.Atoi(id); err != nil || n == 0 {
			t.Errorf("USER %s: want numeric ids that are not root's", users[0])
		}
	}
	for _, name := range []string{"ENTRYPOINT", "CMD", "HEALTHCHECK", "VOLUME"} {
		args := all(last, name)
		if len(args) != 1 {
			t.Errorf("%d of %s", len(args), name)
			continue
		}
		words := args[0]
		if name == "HEALTHCHECK" {
			_, words, _ = strings.Cut(words, "CMD ")
		}
		var list []string
		if err := json.Unmarshal([]byte(words), &list); err != nil || len(list) == 0 {
			t.Errorf("%s %s: a shell would be needed", name, args[0])
		}
	}
	if got := all(last, "ENTRYPOINT")[0]; got != `["/tokenbroker"]` {
		t.Errorf("ENTRYPOINT %s", got)
	}
	if got := all(last, "VOLUME")[0]; got != `["/var/lib/tokenbroker"]` {
		t.Errorf("VOLUME %s", got)
	}
}

func TestImageIsPinnedAndHoldsNoSecret(t *testing.T) {
	secret := regexp.MustCompile(`(?i)secret|password|passwd|token=|_token|kek|credential|api_?key`)
	goVersion := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	for n, stage := range stages(t) {
		from := all(stage, "FROM")[0]
		if n == 0 && !regexp.MustCompile(`^golang:`+regexp.QuoteMeta(goVersion)+`\.\d+(-\S+)? AS build$`).MatchString(from) {
			t.Errorf("FROM %s: want golang:%s.x, to the patch, as in go.mod", from, goVersion)
		}
		for _, i := range stage {
			if (i.name == "ARG" || i.name == "ENV" || i.name == "LABEL") && secret.MatchString(i.args) {
				t.Errorf("%s %s looks like a secret", i.name, i.args)
			}
			if strings.Contains(i.args, "deploy/secrets") {
				t.Errorf("%s %s", i.name, i.args)
			}
		}
	}
}
