package gintrim_test

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
	"github.com/gin-gonic/gin/render"
)

// What is not compiled into gin fails with an error that says so: nothing passes unchecked or unread.
func TestGinRefusesWhatIsNotCompiledIn(t *testing.T) {
	type body struct {
		Name string `binding:"required"`
	}
	for name, call := range map[string]func() error{
		"MessagePack binding": func() error { return binding.MsgPack.BindBody([]byte{0x80}, &body{}) },
		"BSON binding":        func() error { return binding.BSON.BindBody([]byte{5, 0, 0, 0, 0}, &body{}) },
		"YAML binding":        func() error { return binding.YAML.BindBody([]byte("name: ada"), &body{}) },
		"TOML binding":        func() error { return binding.TOML.BindBody([]byte("name = 'ada'"), &body{}) },
		"struct validation":   func() error { return binding.JSON.BindBody([]byte(`{"Name":"ada"}`), &body{}) },
		"MessagePack":         func() error { return render.MsgPack{Data: body{}}.Render(httptest.NewRecorder()) },
		"BSON":                func() error { return render.BSON{Data: body{}}.Render(httptest.NewRecorder()) },
		"YAML":                func() error { return render.YAML{Data: body{}}.Render(httptest.NewRecorder()) },
		"TOML":                func() error { return render.TOML{Data: body{}}.Render(httptest.NewRecorder()) },
		"HTTP/3":              func() error { return gin.New().RunQUIC("127.0.0.1:0", "none.pem", "none.pem") },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "not compiled into") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := binding.Validator.ValidateStruct(body{Name: "ada"}); err == nil {
		t.Error("a struct passed a validation that is not there")
	}
	recorder := httptest.NewRecorder()
	if err := (render.JSON{Data: body{Name: "ada"}}).Render(recorder); err != nil || recorder.Code != http.StatusOK {
		t.Errorf("JSON: %d, %v", recorder.Code, err)
	}
}

// The broker is compiled with these packages in the place of those that gin names.
func TestTheBrokerHasNoneOfTheOriginals(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if .Module}}{{with .Module.Replace}}{{$.ImportPath}} {{.Path}}{{end}}{{end}}", "tokenbroker/cmd/tokenbroker").Output()
	if err != nil {
		t.Fatal(err)
	}
	for original, dir := range map[string]string{
		"github.com/ugorji/go/codec":             "./internal/gintrim/msgpack",
		"github.com/quic-go/quic-go/http3":       "./internal/gintrim/quic",
		"go.mongodb.org/mongo-driver/v2/bson":    "./internal/gintrim/mongo",
		"github.com/goccy/go-yaml":               "./internal/gintrim/yaml",
		"github.com/pelletier/go-toml/v2":        "./internal/gintrim/toml",
		"github.com/go-playground/validator/v10": "./internal/gintrim/validator",
	} {
		if !strings.Contains(string(out), original+" "+dir+"\n") {
			t.Errorf("%s is compiled from elsewhere than %s:\n%s", original, dir, out)
		}
	}
}
