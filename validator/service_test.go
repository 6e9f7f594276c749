package validator_test

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

func start(t *testing.T, change func(*validator.Config)) (*validator.Validator, *validatortest.Issuer) {
	t.Helper()
	issuer := validatortest.New(t)
	config := issuer.Config("test")
	if change != nil {
		change(&config)
	}
	v, err := validator.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v, issuer
}

func TestServiceReceivesRevocations(t *testing.T) {
	v, issuer := start(t, nil)
	for name, row := range map[string]revocation.Event{
		"session": {Kind: revocation.KindSID, Value: "s1"},
		"subject": {Kind: revocation.KindSub, Value: "ada", Epoch: 2},
	} {
		hit := issuer.Mint(validatortest.Claims{"sid": "s1", "sub": "ada"})
		if name == "subject" {
			hit = issuer.Mint(validatortest.Claims{"sid": "s2", "sub": "ada"})
		}
		other := issuer.Mint(validatortest.Claims{"sid": "s3", "sub": "bob"})
		issuer.Revoke(row)
		validatortest.Await(t, v, hit, validator.ErrRevoked)
		validatortest.Await(t, v, other, nil)
	}
}

func TestLateServiceKnowsEarlierRevocations(t *testing.T) {
	issuer := validatortest.New(t)
	token := issuer.Mint(validatortest.Claims{"sid": "gone"})
	issuer.RevokeSession("gone")
	v, err := validator.New(t.Context(), issuer.Config("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Validate(t.Context(), token); !errors.Is(err, validator.ErrRevoked) {
		t.Errorf("at once after New: %v", err)
	}
}

func TestAServiceFollowsTheKeys(t *testing.T) {
	v, issuer := start(t, nil)
	old := issuer.Mint(nil)
	validatortest.Await(t, v, old, nil)
	issuer.Rotate("EdDSA")
	validatortest.Await(t, v, issuer.Mint(nil), nil)
	validatortest.Await(t, v, old, nil)
	issuer.Withdraw("key-1", true)
	validatortest.Await(t, v, old, validator.ErrRevoked)
	validatortest.Await(t, v, issuer.Mint(nil), nil)
}

func TestServiceWithoutMessagesGoesStale(t *testing.T) {
	v, issuer := start(t, func(c *validator.Config) { c.MaxStaleness = 500 * time.Millisecond })
	token := issuer.Mint(validatortest.Claims{"sid": "s1"})
	issuer.SetHTTPDown(true)
	issuer.SetFeedDown(true)
	issuer.RevokeSession("s1")
	validatortest.Await(t, v, token, validator.ErrStale)
	if v.Stats().Fresh {
		t.Error("Stats says fresh")
	}
	issuer.SetHTTPDown(false)
	issuer.SetFeedDown(false)
	validatortest.Await(t, v, token, validator.ErrRevoked)
}

func TestNewEndsWithItsContext(t *testing.T) {
	issuer := validatortest.New(t)
	issuer.SetHTTPDown(true)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	v, err := validator.New(ctx, issuer.Config("test"))
	if err == nil {
		v.Close()
		t.Fatal("started without keys")
	}
}

// The SDK is compiled into every service: it must stay small.
func TestDependencies(t *testing.T) {
	list, err := exec.CommandContext(t.Context(), "go", "list", "-deps",
		"tokenbroker/validator", "tokenbroker/validator/httpauth", "tokenbroker/revocation").Output()
	if err != nil {
		t.Skipf("go list does not run here: %v", err)
	}
	heavy := regexp.MustCompile(`(?m)^(github\.com/(gin-gonic|dgraph-io|nats-io|prometheus)/.*|tokenbroker/(api|broker|keyring|config|upstream).*|testing)$`)
	if found := heavy.FindAllString(string(list), -1); found != nil {
		t.Errorf("a service would compile %v", found)
	}
}
