package session_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenbroker/broker/session"
	"tokenbroker/revocation"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output of the scripts and the golden records")

// TestScripts runs testdata/step/*.txt. A line that starts with "> " is a command; the lines below
// it are its expected output.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/step/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
			}
		})
	}
}

func runScript(t *testing.T, script string) string {
	t.Helper()
	w := newWorld()
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&out, line)
			out.WriteString(w.run(t, strings.Fields(line[2:])))
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		}
	}
	return out.String()
}

// world is a minimal caller of Step: it keeps the records that Step writes.
type world struct {
	now    time.Time
	start  time.Time
	policy session.Policy
	state  session.State
	epoch  int64 // the last that was drawn
	// sessions are all sessions by sid, the state's included, and listed those that are listed. Scripts that name no sid have
	// only s1.
	sessions map[string]*session.Session
	listed   []string
}

// of returns the state of a session.
func (w *world) of(sid string) session.State {
	st := w.state
	st.Session = w.sessions[sid]
	if st.Session != nil && st.Session.Dependent() {
		st.Browser = w.browser(st.Session.BrowserSID)
	}
	return st
}

func (w *world) browser(sid string) *session.State {
	st := w.state
	st.Session = w.sessions[sid]
	return &st
}

func newWorld() *world {
	start := time.Unix(1_800_000_000, 0)
	return &world{
		now: start, start: start,
		policy: session.Policy{
			AccessLife: 5 * time.Minute, Idle: 14 * 24 * time.Hour,
			Absolute: 90 * 24 * time.Hour, Grace: 10 * time.Second,
		},
		state: session.State{User: session.NewUser("u1", "ada", "", nil, start)},
		epoch: 100, sessions: map[string]*session.Session{},
	}
}

func secret(name string) []byte { return []byte("hash of " + name) }

func (w *world) run(t *testing.T, words []string) string {
	t.Helper()
	args := map[string]string{}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		args[key] = value
	}
	value := func(key, fallback string) string {
		if v, ok := args[key]; ok {
			return v
		}
		return fallback
	}
	number := func(key string) int64 {
		n, err := strconv.ParseInt(value(key, "0"), 10, 64)
		if err != nil {
			t.Fatalf("%v: %v", words, err)
		}
		return n
	}
	channel := session.Channel(value("channel", "cookie"))
	var source []byte
	if addr, ok := args["addr"]; ok {
		source = session.NewSource([]byte("secret"), addr, args["agent"])
	}
	sid := value("sid", "s1")
	rotate := session.Rotate{Generation: uint32(number("gen")), SecretHash: secret(value("secret", "mine")), Channel: channel, Source: source, ClientID: args["client"]}
	switch words[0] {
	case "wait":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(d)
		return ""
	case "policy":
		if grace, ok := args["grace"]; ok {
			d, err := time.ParseDuration(grace)
			if err != nil {
				t.Fatal(err)
			}
			w.policy.Grace = d
		}
		w.policy.MaxSessions = int(number("max"))
		return ""
	case "set":
		w.state.Floor = number("floor")
		w.state.ClientEpoch = number("client")
		w.state.Denylisted = value("denylisted", "") == "yes"
		user := *w.state.User
		user.Epoch, user.Disabled = number("user"), value("disabled", "") == "yes"
		user.PasswordSerial = number("password")
		user.Roles = list(value("roles", ""))
		w.state.User = &user
		return ""
	case "set-generation":
		record := *w.sessions[sid]
		record.Generation = uint32(number("gen"))
		w.sessions[sid] = &record
		return ""
	case "no-user":
		w.state.User = nil
		return ""
	case "no-session":
		delete(w.sessions, sid)
		return ""
	case "open":
		_, byPassword := args["password"]
		open := session.Open{
			SID: sid, SecretHash: secret("mine"), Channel: channel, ClientID: "spa", Scope: "hello:read",
			ByPassword: byPassword, PasswordSerial: number("password"), Source: source,
		}
		if account, ok := args["account"]; ok {
			open.UpstreamIssuer, open.UpstreamSubject = "https://idp.test", account
			open.Profile = &session.Profile{Username: account, Groups: list(value("groups", ""))}
		}
		return w.step(sid, open)
	case "grant":
		return w.step(sid, session.Open{
			SID: sid, SecretHash: secret("mine"), Channel: session.ChannelOAuth, ClientID: "app", Scope: "openid", AuthTime: w.start.Unix(),
			Audience: []string{"api"}, BrowserSID: value("browser", "s1"), Offline: args["offline"] == "yes",
			AccessS: number("access"), IdleS: number("idle"), AbsoluteS: number("absolute"), GraceS: number("grace"),
		})
	case "rotate":
		return w.step(sid, rotate)
	case "end":
		return w.step(sid, session.EndSession{SecretHash: secret(value("secret", "mine")), Channel: channel, ClientID: args["client"], Reason: revocation.ReasonLogoff})
	case "revoke":
		return w.step(sid, session.Revoke{Reason: revocation.ReasonRevoked})
	case "allow":
		return w.step("", session.Allow{ClientID: args["client"], Scopes: list(args["scopes"])})
	case "update-user":
		msg := session.UpdateUser{}
		if roles, ok := args["roles"]; ok {
			msg.Roles = append([]string{}, list(roles)...)
		}
		return w.step("", msg)
	case "enable-user":
		return w.step("", session.EnableUser{})
	case "disable-user":
		return w.step("", session.DisableUser{})
	case "set-password":
		return w.step("", session.SetPassword{Hash: args["hash"], KeepSessions: value("keep", "") == "yes"})
	case "revoke-user":
		return w.step("", session.RevokeUser{Reason: revocation.ReasonUpstream})
	case "remove-user":
		return w.step("", session.RemoveUser{})
	case "inspect":
		st := w.of(sid)
		if rotate.Generation == 0 && st.Session != nil {
			rotate.Generation = st.Session.Generation
		}
		refusal := session.Inspect(w.now, w.policy, st, rotate)
		if refusal == "" {
			return fmt.Sprintf("  alive expires=+%v\n", st.Session.EndsAsOf(w.policy, rotate.Generation).Sub(w.start))
		}
		return fmt.Sprintf("  refusal=%q\n", refusal)
	default:
		t.Fatalf("unknown command %q", words[0])
		return ""
	}
}

// records returns the contents of the records in a state.
func records(st session.State) string {
	text := fmt.Sprintf("%+v %+v %q", st.Session, st.User, st.Listed)
	if st.Browser != nil {
		text += records(*st.Browser)
	}
	for _, earlier := range st.Earlier {
		text += records(earlier)
	}
	return text
}

func (w *world) step(sid string, msg session.Message) string {
	st := w.of(sid)
	if open, opens := msg.(session.Open); opens {
		if open.BrowserSID != "" {
			st.Browser = w.browser(open.BrowserSID)
		}
		if st.Listed = w.listed; w.policy.MaxSessions > 0 {
			for _, earlier := range w.listed {
				st.Earlier = append(st.Earlier, w.of(earlier))
			}
		}
	}
	before := records(st)
	eff := session.Step(w.now, w.policy, st, msg)
	if eff.PutListed != nil {
		w.listed = eff.PutListed
	}
	var out strings.Builder
	if after := records(st); after != before {
		fmt.Fprintln(&out, "  STEP CHANGED ITS INPUT")
	}
	if eff.Refusal != "" {
		fmt.Fprintf(&out, "  refused %s\n", eff.Refusal)
	} else if eff.ExpiresAt != 0 {
		fmt.Fprintf(&out, "  token gen=%d iat=+%d exp=+%d replayed=%t%s\n", eff.Session.Generation,
			eff.IssuedAt-w.start.Unix(), eff.ExpiresAt-w.start.Unix(), eff.Replayed, map[bool]string{true: " address changed"}[eff.AddressChanged])
	}
	if s := eff.PutSession; s != nil {
		fmt.Fprintf(&out, "  put session gen=%d rotations=%d sep=%d cep=%d token_exp=+%d ended=%t\n", s.Generation,
			len(s.RotationsMS), s.SEP, s.CEP, s.TokenExp-w.start.Unix(), s.Ended != nil)
		w.sessions[s.SID] = s
	}
	if s := eff.PutBrowser; s != nil {
		fmt.Fprintf(&out, "  put browser session %s grants=%v\n", s.SID, s.Grants)
		w.sessions[s.SID] = s
	}
	for _, s := range eff.Ended {
		fmt.Fprintf(&out, "  end session %s\n", s.SID)
		w.sessions[s.SID] = s
	}
	if len(eff.EndGrants) > 0 {
		fmt.Fprintf(&out, "  end grants %v reason=%s\n", eff.EndGrants, eff.EndReason)
	}
	if u := eff.PutUser; u != nil {
		fmt.Fprintf(&out, "  put user%s\n", w.describe(u))
		w.state.User = u
	}
	if eff.RemoveUser {
		fmt.Fprintln(&out, "  remove user")
		w.state.User = nil
	}
	if eff.EndTokens != "" {
		w.epoch++
		fmt.Fprintf(&out, "  end the user's tokens reason=%s epoch=%d\n", eff.EndTokens, w.epoch)
		if u := w.state.User; u != nil {
			user := *u
			user.Epoch = w.epoch
			w.state.User = &user
		}
	}
	for _, e := range eff.Events {
		fmt.Fprintf(&out, "  event %s %s reason=%s at=+%d expires_at=+%d\n", e.Kind, e.Value, e.Reason,
			e.At-w.start.Unix(), e.ExpiresAt-w.start.Unix())
	}
	for _, sid := range eff.EndGrants { // as package commit does
		ended := session.Step(w.now, w.policy, w.of(sid), session.Revoke{Reason: eff.EndReason}).PutSession
		if ended != nil {
			w.sessions[sid] = ended
		}
	}
	if out.Len() == 0 {
		return "  nothing\n"
	}
	return out.String()
}

// describe returns the fields of a user that differ from their initial values.
func (w *world) describe(u *session.User) string {
	var out strings.Builder
	for _, field := range []struct {
		name  string
		value any
		zero  bool
	}{
		{"last_login", fmt.Sprintf("+%d", u.LastLogin-w.start.Unix()), u.LastLogin == 0},
		{"disabled", u.Disabled, !u.Disabled},
		{"password", u.PasswordHash, u.PasswordHash == ""},
		{"roles", u.Roles, len(u.Roles) == 0},
		{"groups", u.Groups, len(u.Groups) == 0},
		{"accounts", len(u.Accounts), len(u.Accounts) == 0},
		{"consents", consents(u), len(u.Consents) == 0},
	} {
		if !field.zero {
			fmt.Fprintf(&out, " %s=%v", field.name, field.value)
		}
	}
	return out.String()
}

func consents(u *session.User) string {
	var texts []string
	for _, c := range u.Consents {
		texts = append(texts, fmt.Sprintf("%s:%s", c.ClientID, strings.Join(c.Scopes, ",")))
	}
	return strings.Join(texts, ";")
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
