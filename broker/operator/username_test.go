package operator_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
	"tokenbroker/broker/operator"
	"tokenbroker/broker/throttle"
)

func add(t *testing.T, h *brokertest.Harness, name string) (operator.UserInfo, error) {
	t.Helper()
	return h.AddUser(t.Context(), operator.NewUser{Username: name, Password: "a pass phrase"}, brokertest.Operator)
}

func mustAdd(t *testing.T, h *brokertest.Harness, name string) operator.UserInfo {
	t.Helper()
	user, err := add(t, h, name)
	if err != nil {
		t.Fatalf("adding %q: %v", name, err)
	}
	return user
}

// Phone keyboards add a space, and the entered text may be composed or not.
func TestAUserIsFoundByEveryFormOfTheName(t *testing.T) {
	for _, stored := range []string{"ada lovelace", "José Ñandú", "Ω@example.org"} {
		for _, given := range []string{stored, "  " + norm.NFD.String(stored) + "\u3000\n"} {
			h := brokertest.Start(t)
			user := mustAdd(t, h, given)
			if user.Username != norm.NFC.String(stored) || user.Accounts[0].Subject != user.Username {
				t.Errorf("%q was added as %q (%v)", given, user.Username, user.Accounts)
			}
			for _, form := range []norm.Form{norm.NFC, norm.NFD} {
				for _, space := range []string{"", " ", "\t", "\r\n", "\u0085", "\u00a0", "\u2003", "\u202f", "\u3000"} {
					for _, name := range []string{space + form.String(stored), form.String(stored) + space, space + space + form.String(stored) + space} {
						grant, err := h.SignIn(t.Context(), name, "a pass phrase", brokertest.Request)
						if err != nil || grant.UID != user.UID {
							t.Fatalf("signing in as %q: %v", name, err)
						}
						if info, err := h.User(t.Context(), name); err != nil || info.UID != user.UID {
							t.Errorf("an operator's %q: %v", name, err)
						}
						if page, err := h.ListSessions(t.Context(), operator.SessionQuery{User: name}); err != nil || len(page.Sessions) == 0 {
							t.Errorf("the sessions of %q: %v, %v", name, page, err)
						}
					}
				}
			}
			for _, other := range []string{strings.ToUpper(stored), strings.ToLower(stored) + "x", strings.ReplaceAll(stored, "a", "a ")} {
				_, err := h.SignIn(t.Context(), other, "a pass phrase", brokertest.Request)
				brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
			}
			if rev, err := h.RevokeUser(t.Context(), " "+norm.NFD.String(stored)+" ", "", brokertest.Operator); err != nil || rev.Value != user.UID {
				t.Errorf("revoking: %+v, %v", rev, err)
			}
			if info, err := h.User(t.Context(), " "+user.UID+"\n"); err != nil || info.UID != user.UID {
				t.Errorf("by uid: %v", err)
			}
		}
	}
}

func TestNamesThatPeopleMayConfuseAreEqual(t *testing.T) {
	for _, names := range [][2]string{
		{"grace", "Grace"}, {"GRACE", "grace"}, {"grace", "grace "}, {"José", norm.NFD.String("José")}, {"josé", "JOSÉ"},
		{"straße", "STRASSE"}, {"strasse", "STRAẞE"}, {"ﬁona", "fiona"}, {"ada2", "ada２"}, {"ada²", "ADA2"}, {"ａｄａ２", "ada2"},
		{"σίσυφος", "ΣΊΣΥΦΟΣ"}, {"Ångström", "Ångström"}, {"K2", "k2"}, {"ſam", "Sam"}, {"ᾳ2", "ΑΙ2"},
	} {
		h := brokertest.Start(t)
		mustAdd(t, h, names[0])
		_, err := add(t, h, names[1])
		if refusal := brokertest.WantCode(t, err, broker.CodeUserExists); strings.TrimSpace(names[1]) != names[0] && norm.NFC.String(names[1]) != names[0] &&
			!strings.Contains(refusal.Message, fmt.Sprintf("%q", norm.NFC.String(names[0]))) {
			t.Errorf("%q next to %q: %s", names[1], names[0], refusal.Message)
		}
		if _, err := h.RemoveUser(t.Context(), names[0], brokertest.Operator); err != nil {
			t.Fatal(err)
		}
		if user := mustAdd(t, h, names[1]); user.Username != norm.NFC.String(strings.TrimSpace(names[1])) {
			t.Errorf("%q was added as %q", names[1], user.Username)
		}
	}
	h := brokertest.Start(t)
	for _, name := range []string{"jose", "josé", "josè", "jose1", "jöse", "иосиф", "İo", "ıo", "a b", "ab", "a.b"} {
		mustAdd(t, h, name)
	}
}

func TestNamesThatLookLikeOthersAreRefused(t *testing.T) {
	h := brokertest.Start(t)
	for name, point := range map[string]string{
		"ad\u200ba": "U+200B", "ada\u200d": "U+200D", "\ufeffada": "U+FEFF", "a\u00adda": "U+00AD", "ad\u2060a": "U+2060", "a\u061cb": "U+061C",
		"ada\u200f": "U+200F", "a\u202eb": "U+202E", "a\u2066b": "U+2066", "a\ufe0fb": "U+FE0F", "a\u034fb": "U+034F", "a\u115fb": "U+115F",
		"a\u3164b": "U+3164", "a\U000e0041b": "U+E0041", "a\U000e0100b": "U+E0100", "a\x00b": "control characters", "a\tb": "control characters",
		"a\u0085b": "control characters", "a\u2028b": "U+2028", "a\ue000b": "U+E000", "a\U0010ffffb": "U+10FFFF", "a\u00a0b": "U+00A0",
		"a\u3000b": "U+3000", "\u0301a": "U+0301", " \u0301a": "U+0301", "\ufffe": "U+FFFE", "": "empty", " \t\u00a0": "empty", "\xff": "UTF-8",
		strings.Repeat("é", 65): "128 bytes", strings.Repeat("a", 129): "128 bytes",
	} {
		_, err := add(t, h, name)
		if refusal := brokertest.WantCode(t, err, broker.CodeInvalidUser); !strings.Contains(refusal.Message, point) {
			t.Errorf("%+q: %s, want it to name %s", name, refusal.Message, point)
		}
	}
	for _, name := range []string{"ada lovelace", "ada@example.org", "d'Arc", "O’Neill", "李小龙", "안녕", "नमस्ते", "ada+x", "🙂", norm.NFD.String(strings.Repeat("é", 64))} {
		mustAdd(t, h, name)
	}
}

// subjects records the account of each computation of claims.
type subjects struct{ seen []string }

func (s *subjects) Claims(_ context.Context, in credential.ClaimsInput) (map[string]any, error) {
	s.seen = append(s.seen, in.Identity.Subject)
	return nil, nil
}

func (s *subjects) UserObject(credential.ClaimsUser) map[string]any { return nil }

func TestAClaimContainsTheAccountsNameAndNotTheTypedOne(t *testing.T) {
	claims := &subjects{}
	h := brokertest.Start(t, func(c *brokertest.Config) { c.CustomClaims = claims })
	mustAdd(t, h, "josé")
	if _, err := h.SignIn(t.Context(), norm.NFD.String(" josé"), "a pass phrase", brokertest.Request); err != nil {
		t.Fatal(err)
	}
	if len(claims.seen) != 1 || claims.seen[0] != "josé" {
		t.Errorf("the subject is %+q", claims.seen)
	}
}

// All forms of a name are one account: the failures of one count for all.
func TestTheThrottleKnowsANameInEveryForm(t *testing.T) {
	passwords := &brokertest.SlowPasswords{Let: make(chan struct{})}
	close(passwords.Let)
	h := brokertest.Throttled(t, passwords)
	mustAdd(t, h, "josé")
	names := []string{"josé", "josé ", "\u00a0josé", norm.NFD.String("josé"), norm.NFD.String("josé") + "\t"}
	for i := range throttle.DefaultFree {
		_, err := h.SignIn(t.Context(), names[i%len(names)], "a guess", brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
	}
	for _, name := range names {
		_, err := h.SignIn(t.Context(), name, "a pass phrase", brokertest.Request)
		brokertest.WantCode(t, err, broker.CodeTooManyAttempts)
	}
	_, err := h.SignIn(t.Context(), "José", "a guess", brokertest.Request)
	brokertest.WantCode(t, err, broker.CodeInvalidCredentials)
}

// Of concurrent requests for equal names, one succeeds.
func TestOneOfTwoNewUsersGetsTheName(t *testing.T) {
	one := brokertest.Start(t)
	other := brokertest.Start(t, func(c *brokertest.Config) { c.Store = one.Store })
	for i := range 20 {
		names := []string{fmt.Sprintf("José-%d", i), norm.NFD.String(fmt.Sprintf("JOSÉ-%d", i)), fmt.Sprintf("josé-%d ", i), fmt.Sprintf("ｊosé-%d", i)}
		answers := make(chan error, len(names))
		for j, name := range names {
			at := []*brokertest.Harness{one, other}[j%2]
			go func() {
				_, err := at.AddUser(context.Background(), operator.NewUser{Username: name, Password: "a pass phrase"}, brokertest.Operator)
				answers <- err
			}()
		}
		added := 0
		for range names {
			if err := <-answers; err == nil {
				added++
			} else {
				brokertest.WantCode(t, err, broker.CodeUserExists)
			}
		}
		if added != 1 {
			t.Errorf("%d users have one name", added)
		}
	}
}
