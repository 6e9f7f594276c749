package enduser_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/operator"
)

func TestProfileOfAProviderIsBounded(t *testing.T) {
	texts := func(n, size int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = strings.Repeat("g", size)
		}
		return list
	}
	attributes := func(n int) map[string]any {
		m := map[string]any{}
		for i := range n {
			m[fmt.Sprint("a", i)] = true
		}
		return m
	}
	one := func(name string, value any) func(*broker.Identity) {
		return func(i *broker.Identity) { i.Attributes = map[string]any{name: value} }
	}
	for name, tc := range map[string]struct {
		change func(*broker.Identity)
		code   broker.Code // empty if the user is signed in
		says   string
	}{
		"plain":                       {func(*broker.Identity) {}, "", ""},
		"no user name":                {func(i *broker.Identity) { i.Username = "" }, "", ""},
		"a long user name":            {func(i *broker.Identity) { i.Username = strings.Repeat("u", 129) }, broker.CodeProfileTooLarge, "user name has 129 bytes, more than 128"},
		"a user name of 128 bytes":    {func(i *broker.Identity) { i.Username = strings.Repeat("u", 128) }, "", ""},
		"an escape in the user name":  {func(i *broker.Identity) { i.Username = "a\x1b[2J" }, broker.CodeProfileInvalid, "the user name"},
		"an override in the name":     {func(i *broker.Identity) { i.Username = "a\u202enimda" }, broker.CodeProfileInvalid, "the user name"},
		"an isolate in the name":      {func(i *broker.Identity) { i.Username = "a\u2066b" }, broker.CodeProfileInvalid, "the user name"},
		"a name that is not UTF-8":    {func(i *broker.Identity) { i.Username = "a\xff" }, broker.CodeProfileInvalid, "the user name"},
		"a long subject":              {func(i *broker.Identity) { i.Subject = strings.Repeat("s", 256) }, broker.CodeProfileTooLarge, "sub has 256 bytes"},
		"a long address":              {func(i *broker.Identity) { i.Email = strings.Repeat("e", 255) }, broker.CodeProfileTooLarge, "email has 255"},
		"a long acr":                  {func(i *broker.Identity) { i.ACR = strings.Repeat("e", 256) }, broker.CodeProfileTooLarge, "acr"},
		"a long session id":           {func(i *broker.Identity) { i.UpstreamSID = strings.Repeat("e", 256) }, broker.CodeProfileTooLarge, "session id"},
		"many amr":                    {func(i *broker.Identity) { i.AMR = texts(17, 1) }, broker.CodeProfileTooLarge, "amr has 17 values"},
		"256 groups":                  {func(i *broker.Identity) { i.Groups = texts(256, 64) }, "", ""},
		"257 groups":                  {func(i *broker.Identity) { i.Groups = texts(257, 1) }, broker.CodeProfileTooLarge, "groups has 257 values, more than 256"},
		"a long group":                {func(i *broker.Identity) { i.Groups = texts(1, 257) }, broker.CodeProfileTooLarge, "groups contains a value that has 257"},
		"groups of 32 KiB":            {func(i *broker.Identity) { i.Groups = texts(128, 256) }, broker.CodeProfileTooLarge, "groups has 32768 bytes"},
		"a group with a line end":     {func(i *broker.Identity) { i.Groups = []string{"a\nb"} }, broker.CodeProfileInvalid, "groups"},
		"64 attributes":               {func(i *broker.Identity) { i.Attributes = attributes(64) }, "", ""},
		"65 attributes":               {func(i *broker.Identity) { i.Attributes = attributes(65) }, broker.CodeProfileTooLarge, "65 attributes, more than 64"},
		"a large attribute":           {one("blob", strings.Repeat("x", 17<<10)), broker.CodeProfileTooLarge, `largest attribute is "blob"`},
		"a long attribute name":       {one(strings.Repeat("n", 129), 1), broker.CodeProfileTooLarge, "attribute name"},
		"an address of several lines": {one("address", map[string]any{"formatted": "1 Road\r\n\tTown"}), "", ""},
		"an override deep inside":     {one("address", []any{map[string]any{"x": "a\u202eb"}}), broker.CodeProfileInvalid, `attribute "address"`},
		"an override in a deep name":  {one("address", map[string]any{"a\u202eb": 1}), broker.CodeProfileInvalid, `attribute "address"`},
	} {
		t.Run(name, func(t *testing.T) {
			h, p := brokertest.Federated(t)
			tc.change(&p.Identity)
			_, err := h.ExchangeTokens(t.Context(), "cognito", broker.UpstreamTokens{IDToken: "x"}, brokertest.Request)
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var refused *broker.Error
			if !errors.As(err, &refused) || refused.Code != tc.code || !strings.Contains(refused.Message, tc.says) {
				t.Fatalf("error %v, want %s with %q", err, tc.code, tc.says)
			}
			page, err := h.ListUsers(t.Context(), operator.UserQuery{Match: "@example.org"})
			if err != nil || len(page.Users) > 0 {
				t.Errorf("%d users, %v", len(page.Users), err)
			}
		})
	}
}

func TestAttributesSetByOperatorsHaveTheSameBounds(t *testing.T) {
	for name, attributes := range map[string]map[string]any{
		"a long name": {strings.Repeat("n", 129): 1}, "an override": {"x": "a\u202eb"}, "an escape": {"x": []any{"\x1b"}},
	} {
		_, err := brokertest.Start(t).AddUser(t.Context(), operator.NewUser{Username: "ada", Password: "correct horse battery", Attributes: attributes}, brokertest.Request)
		var refused *broker.Error
		if !errors.As(err, &refused) || refused.Code != broker.CodeInvalidUser {
			t.Errorf("%s: %v", name, err)
		}
	}
}
