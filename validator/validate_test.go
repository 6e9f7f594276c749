package validator_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenbroker/revocation"
	"tokenbroker/validator"
	"tokenbroker/validator/validatortest"
)

// bench is a Validator in process with a denylist of the test's own and a clock that it
// can put forward.
type bench struct {
	*validator.Validator
	issuer   *validatortest.Issuer
	denylist *revocation.Denylist
	ahead    *time.Duration
}

func newBench(tb testing.TB) bench {
	tb.Helper()
	b := bench{issuer: validatortest.New(tb), denylist: revocation.NewDenylist(), ahead: new(time.Duration)}
	v, err := validator.NewInProcess(validator.InProcessConfig{
		Issuer: b.issuer.URL(), Audiences: []string{"test"}, Keys: b.issuer.Key, Denylist: b.denylist,
		Now: func() time.Time { return time.Now().Add(*b.ahead) }, MaxLifetime: 15 * time.Minute,
	})
	if err != nil {
		tb.Fatal(err)
	}
	b.Validator = v
	return b
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// part returns a part of a token, decoded.
func part(token string, n int) string {
	raw, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	return string(raw)
}

// reheader returns the token another header and leaves the rest.
func reheader(token, header string) string {
	_, rest, _ := strings.Cut(token, ".")
	return encode(header) + "." + rest
}

func TestGoodTokensAreAccepted(t *testing.T) {
	b := newBench(t)
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		t.Run(alg, func(t *testing.T) {
			kid := b.issuer.Rotate(alg)
			token := b.issuer.Mint(validatortest.Claims{
				"sub": "ada", "scope": "hello:read hello:write", "amr": []string{"pwd"}, "acr": "1",
				"auth_time": 1700000000, "https://example.com/team": map[string]any{"name": "\u00e9"},
			})
			for _, sight := range []string{"first", "second"} {
				c, err := b.Validate(t.Context(), token)
				if err != nil {
					t.Fatalf("%s sight: %v", sight, err)
				}
				if c.Subject != "ada" || c.KeyID != kid || c.SessionID != "test-session" || c.SEP != 1 ||
					c.ClientID != "test-client" || c.AuthTime.Unix() != 1700000000 || c.AMR[0] != "pwd" {
					t.Errorf("%s sight: claims are %+v", sight, c)
				}
				for scope, want := range map[string]bool{
					"hello:read": true, "hello:write": true, "hello": false, "": false, "hello:read hello:write": false,
				} {
					if c.HasScope(scope) != want {
						t.Errorf("HasScope(%q) is %v", scope, !want)
					}
				}
				if raw, ok := c.Get("https://example.com/team"); !ok || string(raw) != `{"name":"é"}` {
					t.Errorf("Get: %s, %v", raw, ok)
				}
				if _, ok := c.Get("none"); ok {
					t.Error("Get found a claim that is not there")
				}
				if !json.Valid(c.Raw()) {
					t.Errorf("Raw: %s", c.Raw())
				}
			}
		})
	}
	if got := b.Stats(); got.Verified != 4 || got.Cached != 4 || !got.Fresh {
		t.Errorf("four tokens, each shown twice: %+v", got)
	}
}

func TestBadTokensAreRefused(t *testing.T) {
	b := newBench(t)
	es := b.issuer.Rotate("ES256")
	now := time.Now().Unix()
	good := b.issuer.Mint(nil)
	_, public, _ := b.issuer.Key(es)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(key []byte) string {
		head := encode(fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"at+jwt"}`, es))
		signed := head + "." + strings.Split(good, ".")[1]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		return signed + "." + encode(string(mac.Sum(nil)))
	}
	claims := func(name string, value any) string {
		return b.issuer.Mint(validatortest.Claims{name: value})
	}
	payload := part(good, 1)
	splice := func(extra string) string {
		return b.issuer.Sign([]byte(strings.TrimSuffix(payload, "}")+","+extra+"}"), nil)
	}
	header := func(name string, value any) string {
		return b.issuer.Sign([]byte(payload), map[string]any{name: value})
	}
	parts := strings.Split(good, ".")

	for name, row := range map[string]struct {
		token string
		want  error
	}{
		"empty":                       {"", validator.ErrInvalid},
		"two parts":                   {parts[0] + "." + parts[1], validator.ErrInvalid},
		"four parts":                  {good + "." + parts[2], validator.ErrInvalid},
		"five parts":                  {good + "..", validator.ErrInvalid},
		"no signature":                {parts[0] + "." + parts[1] + ".", validator.ErrInvalid},
		"padding":                     {good + "=", validator.ErrInvalid},
		"line break":                  {parts[0] + "." + parts[1] + "\n." + parts[2], validator.ErrInvalid},
		"space before":                {" " + good, validator.ErrInvalid},
		"17 KiB":                      {claims("pad", strings.Repeat("x", 13<<10)), validator.ErrInvalid},
		"truncated signature":         {good[:len(good)-4], validator.ErrInvalid},
		"another token's signature":   {parts[0] + "." + parts[1] + "." + strings.Split(b.issuer.Mint(nil), ".")[2], validator.ErrInvalid},
		"DER signature":               {parts[0] + "." + parts[1] + "." + encode("\x30\x06\x02\x01\x01\x02\x01\x01"), validator.ErrInvalid},
		"zero signature":              {parts[0] + "." + parts[1] + "." + encode(strings.Repeat("\x00", 64)), validator.ErrInvalid},
		"alg none":                    {encode(fmt.Sprintf(`{"alg":"none","kid":%q,"typ":"at+jwt"}`, es)) + "." + parts[1] + ".", validator.ErrInvalid},
		"alg none, signature kept":    {reheader(good, fmt.Sprintf(`{"alg":"none","kid":%q,"typ":"at+jwt"}`, es)), validator.ErrInvalid},
		"HS256 with the DER key":      {hs256(der), validator.ErrInvalid},
		"HS256 with the PEM key":      {hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), validator.ErrInvalid},
		"another allowed alg":         {reheader(good, fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"at+jwt"}`, es)), validator.ErrInvalid},
		"alg missing":                 {reheader(good, fmt.Sprintf(`{"kid":%q,"typ":"at+jwt"}`, es)), validator.ErrInvalid},
		"alg in lower case":           {reheader(good, fmt.Sprintf(`{"alg":"es256","kid":%q,"typ":"at+jwt"}`, es)), validator.ErrInvalid},
		"header no object":            {reheader(good, `[]`), validator.ErrInvalid},
		"header with a second object": {reheader(good, part(good, 0)+"{}"), validator.ErrInvalid},
		"duplicate alg":               {reheader(good, fmt.Sprintf(`{"alg":"none","alg":"ES256","kid":%q,"typ":"at+jwt"}`, es)), validator.ErrInvalid},
		"duplicate, escaped":          {reheader(good, fmt.Sprintf(`{"alg":"ES256","\u0061lg":"ES256","kid":%q,"typ":"at+jwt"}`, es)), validator.ErrInvalid},
		"kid missing":                 {reheader(good, `{"alg":"ES256","typ":"at+jwt"}`), validator.ErrInvalid},
		"kid unknown":                 {header("kid", "unknown"), validator.ErrInvalid},
		"kid of another key":          {header("kid", "key-1"), validator.ErrInvalid},
		"kid a number":                {header("kid", 1), validator.ErrInvalid},
		"kid too long":                {header("kid", strings.Repeat("k", 300)), validator.ErrInvalid},
		"typ JWT":                     {header("typ", "JWT"), validator.ErrInvalid},
		"typ missing":                 {reheader(good, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, es)), validator.ErrInvalid},
		"typ of a heartbeat":          {header("typ", revocation.HeartbeatType), validator.ErrInvalid},
		"crit":                        {header("crit", []string{"exp"}), validator.ErrInvalid},
		"crit empty":                  {header("crit", []string{}), validator.ErrInvalid},
		"claims no object":            {b.issuer.Sign([]byte(`"text"`), nil), validator.ErrInvalid},
		"claims no JSON":              {b.issuer.Sign([]byte(`{`), nil), validator.ErrInvalid},
		"claims not UTF-8":            {splice("\"x\":\"\xff\""), validator.ErrInvalid},
		"duplicate claim":             {splice(`"sub":"root"`), validator.ErrInvalid},
		"duplicate claim, same value": {splice(`"sep":1`), validator.ErrInvalid},
		"duplicate deep inside":       {splice(`"x":[{"a":{"b":1,"b":2}}]`), validator.ErrInvalid},
		"nested too deeply":           {splice(`"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40)), validator.ErrInvalid},
		"too many claims":             {splice(manyMembers(200)), validator.ErrInvalid},
		"other issuer":                {claims("iss", "https://evil.example"), validator.ErrInvalid},
		"issuer with a slash":         {claims("iss", b.issuer.URL()+"/"), validator.ErrInvalid},
		"issuer a number":             {claims("iss", 1), validator.ErrInvalid},
		"issuer in other case":        {b.issuer.Mint(validatortest.Claims{"iss": nil, "ISS": b.issuer.URL()}), validator.ErrInvalid},
		"other audience":              {claims("aud", []string{"other"}), validator.ErrInvalid},
		"other audience, text":        {claims("aud", "test2"), validator.ErrInvalid},
		"audience null":               {claims("aud", json.RawMessage("null")), validator.ErrInvalid},
		"audience mixed":              {claims("aud", []any{"test", 1}), validator.ErrInvalid},
		"expired":                     {b.issuer.Mint(validatortest.Claims{"iat": now - 300, "nbf": now - 300, "exp": now - 1}), validator.ErrExpired},
		"expires now":                 {b.issuer.Mint(validatortest.Claims{"iat": now - 300, "nbf": now - 300, "exp": now}), validator.ErrExpired},
		"expired, other audience":     {b.issuer.Mint(validatortest.Claims{"iat": now - 300, "exp": now - 1, "aud": "other"}), validator.ErrInvalid},
		"exp too far":                 {b.issuer.Mint(validatortest.Claims{"iat": now, "exp": now + 901}), validator.ErrInvalid},
		"exp before iat":              {b.issuer.Mint(validatortest.Claims{"iat": now + 30, "exp": now + 20}), validator.ErrInvalid},
		"exp huge":                    {claims("exp", json.RawMessage("99999999999999999999")), validator.ErrInvalid},
		"exp negative":                {claims("exp", -1), validator.ErrInvalid},
		"exp a fraction":              {claims("exp", json.RawMessage(fmt.Sprintf("%d.5", now+60))), validator.ErrInvalid},
		"exp in scientific form":      {claims("exp", json.RawMessage("1e10")), validator.ErrInvalid},
		"exp as text":                 {claims("exp", fmt.Sprint(now+60)), validator.ErrInvalid},
		"iat in 90 s":                 {b.issuer.Mint(validatortest.Claims{"iat": now + 90, "nbf": now}), validator.ErrInvalid},
		"nbf in 90 s":                 {claims("nbf", now+90), validator.ErrInvalid},
		"sid empty":                   {claims("sid", ""), validator.ErrInvalid},
		"sid a number":                {claims("sid", 5), validator.ErrInvalid},
		"sep negative":                {claims("sep", -1), validator.ErrInvalid},
		"sep null":                    {claims("sep", json.RawMessage("null")), validator.ErrInvalid},
		"cep as text":                 {claims("cep", "1"), validator.ErrInvalid},
		"scope a list":                {claims("scope", []string{"a"}), validator.ErrInvalid},
		"iss missing":                 {claims("iss", nil), validator.ErrInvalid},
		"sub missing":                 {claims("sub", nil), validator.ErrInvalid},
		"sub empty":                   {claims("sub", ""), validator.ErrInvalid},
		"aud missing":                 {claims("aud", nil), validator.ErrInvalid},
		"aud empty":                   {claims("aud", []string{}), validator.ErrInvalid},
		"jti missing":                 {claims("jti", nil), validator.ErrInvalid},
		"client_id missing":           {claims("client_id", nil), validator.ErrInvalid},
		"exp missing":                 {claims("exp", nil), validator.ErrInvalid},
		"iat missing":                 {claims("iat", nil), validator.ErrInvalid},
		"sep missing":                 {claims("sep", nil), validator.ErrInvalid},
		"cep missing":                 {claims("cep", nil), validator.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				c, err := b.Validate(t.Context(), row.token)
				if !errors.Is(err, row.want) || c != nil {
					t.Fatalf("got %v, %v; want %v", c, err, row.want)
				}
				if len(row.token) > 20 && strings.Contains(err.Error(), row.token[len(row.token)-20:]) {
					t.Errorf("the error shows the token: %v", err)
				}
			}
		})
	}
	if got := b.Stats().Cached; got != 0 {
		t.Errorf("%d bad tokens were remembered", got)
	}
	if _, err := b.Validate(t.Context(), good); err != nil {
		t.Errorf("the token they were all made from: %v", err)
	}
}

func manyMembers(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"m%d":%d`, i, i))
	}
	return strings.Join(all, ",")
}

func TestLimitsThatAGoodTokenMayReach(t *testing.T) {
	b := newBench(t)
	now := time.Now().Unix()
	for name, changes := range map[string]validatortest.Claims{
		"longest life":       {"exp": now + 900},
		"issued 59 s ahead":  {"iat": now + 59},
		"several audiences":  {"aud": []string{"other", "test"}},
		"audience as text":   {"aud": "test"},
		"no nbf":             {"nbf": nil},
		"a client's own":     {"sid": nil, "sub": "test-client"},
		"epochs of zero":     {"sep": 0, "cep": 0},
		"subject in unicode": {"sub": "a\"b\\c\u2028é"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := b.Validate(t.Context(), b.issuer.Mint(changes))
			if err != nil {
				t.Fatal(err)
			}
			if sub, ok := changes["sub"]; ok && c.Subject != sub {
				t.Errorf("the subject is %q", c.Subject)
			}
		})
	}
	for _, typ := range []string{"at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"} {
		token := b.issuer.Sign([]byte(part(b.issuer.Mint(nil), 1)), map[string]any{"typ": typ})
		if _, err := b.Validate(t.Context(), token); err != nil {
			t.Errorf("typ %s: %v", typ, err)
		}
	}
}

// Base64url has characters of which only some bits count; a reader that ignores the rest
// takes two texts for one token.
func TestEachSingleChangedCharacterIsRefused(t *testing.T) {
	b := newBench(t)
	for _, alg := range []string{"ES256", "EdDSA"} {
		b.issuer.Rotate(alg)
		good := b.issuer.Mint(nil)
		if _, err := b.Validate(t.Context(), good); err != nil {
			t.Fatal(err)
		}
		for i := range len(good) {
			for _, c := range []byte("AQgw-.") {
				if good[i] == c {
					continue
				}
				bad := good[:i] + string(c) + good[i+1:]
				if _, err := b.Validate(t.Context(), bad); !errors.Is(err, validator.ErrInvalid) {
					t.Fatalf("%s: with %q at %d of %d: %v", alg, c, i, len(good), err)
				}
			}
		}
		last := good[len(good)-1]
		for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
			bad := good[:len(good)-1] + string(c)
			if _, err := b.Validate(t.Context(), bad); c != last && !errors.Is(err, validator.ErrInvalid) {
				t.Fatalf("%s: with %q at the end: %v", alg, c, err)
			}
		}
	}
}

func TestChangesApplyToTokensInMemory(t *testing.T) {
	for name, row := range map[string]struct {
		change func(b bench, token string)
		want   error
	}{
		"nothing":       {func(bench, string) {}, nil},
		"another token": {func(b bench, _ string) { b.denylist.Apply(event(revocation.KindSID, "other", 0)) }, nil},
		"its session":   {func(b bench, _ string) { b.denylist.Apply(event(revocation.KindSID, "test-session", 0)) }, validator.ErrRevoked},
		"its jti":       {func(b bench, t string) { b.denylist.Apply(event(revocation.KindJTI, jti(t), 0)) }, validator.ErrRevoked},
		"its subject":   {func(b bench, _ string) { b.denylist.Apply(event(revocation.KindSub, "user", 2)) }, validator.ErrRevoked},
		"older subject": {func(b bench, _ string) { b.denylist.Apply(event(revocation.KindSub, "user", 1)) }, nil},
		"its client":    {func(b bench, _ string) { b.denylist.Apply(event(revocation.KindClient, "test-client", 2)) }, validator.ErrRevoked},
		"all":           {func(b bench, _ string) { b.denylist.Apply(event(revocation.KindAll, "", 2)) }, validator.ErrRevoked},
		"its kid":       {func(b bench, _ string) { b.denylist.Apply(event(revocation.KindKID, "key-1", 0)) }, validator.ErrRevoked},
		"time":          {func(b bench, _ string) { *b.ahead = 5 * time.Minute }, validator.ErrExpired},
		"expired and revoked": {func(b bench, _ string) {
			*b.ahead = 5 * time.Minute
			b.denylist.Apply(event(revocation.KindSID, "test-session", 0))
		}, validator.ErrExpired},
		"its key left": {func(b bench, _ string) {
			b.issuer.Rotate("ES256")
			b.issuer.Withdraw("key-1", false)
			b.denylist.BumpVersion()
		}, validator.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			token, unseen := b.issuer.Mint(nil), ""
			if _, err := b.Validate(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			if name != "its jti" {
				unseen = b.issuer.Mint(nil)
			}
			row.change(b, token)
			for _, shown := range []string{token, token, unseen} {
				if shown == "" {
					continue
				}
				if _, err := b.Validate(t.Context(), shown); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
			}
		})
	}
}

func event(kind revocation.Kind, value string, epoch int64) revocation.Event {
	now := time.Now().Unix()
	return revocation.Event{Kind: kind, Value: value, Epoch: epoch, At: now, ExpiresAt: now + 3600}
}

func jti(token string) string {
	var claims struct{ JTI string }
	_ = json.Unmarshal([]byte(part(token, 1)), &claims)
	return claims.JTI
}

func TestConfigIsChecked(t *testing.T) {
	issuer := validatortest.New(t)
	for name, change := range map[string]func(*validator.Config){
		"no issuer":          func(c *validator.Config) { c.Issuer = "" },
		"issuer not a URL":   func(c *validator.Config) { c.Issuer = "login" },
		"no audience":        func(c *validator.Config) { c.Audience = "" },
		"no client":          func(c *validator.Config) { c.Client.ID = "" },
		"no secret":          func(c *validator.Config) { c.Client.Secret = "" },
		"no feed":            func(c *validator.Config) { c.Feed = nil },
		"negative denylist":  func(c *validator.Config) { c.DenylistSize = -1 },
		"negative staleness": func(c *validator.Config) { c.MaxStaleness = -1 },
		"unknown policy":     func(c *validator.Config) { c.OnStale = "hope" },
	} {
		t.Run(name, func(t *testing.T) {
			config := issuer.Config("test")
			change(&config)
			v, err := validator.New(t.Context(), config)
			if err == nil {
				v.Close()
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), validatortest.ClientSecret) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	if _, err := validator.NewInProcess(validator.InProcessConfig{}); err == nil {
		t.Error("an empty InProcessConfig was accepted")
	}
	inProcess := validator.InProcessConfig{
		Issuer: issuer.URL(), Keys: issuer.Key, Denylist: revocation.NewDenylist(), Now: time.Now, MaxLifetime: 15 * time.Minute,
	}
	if _, err := validator.NewInProcess(inProcess); err == nil {
		t.Error("an InProcessConfig without audiences was accepted")
	}
	inProcess.SkipAudience = true
	v, err := validator.NewInProcess(inProcess)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Validate(t.Context(), issuer.Mint(validatortest.Claims{"aud": "any"})); err != nil {
		t.Errorf("SkipAudience: %v", err)
	}
}

func TestTheSecretIsNeverPrinted(t *testing.T) {
	config := validator.Config{Client: validator.Client{ID: "orders", Secret: "hush"}}
	asJSON, err := json.Marshal(config.Client)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s", config, config, config, config.Client), string(asJSON), config.Client.LogValue().String(),
	} {
		if strings.Contains(text, "hush") || !strings.Contains(text, "orders") {
			t.Errorf("printed as %s", text)
		}
	}
}
