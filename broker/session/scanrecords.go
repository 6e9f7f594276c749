package session

// scanSession reads a session as Encode writes it; false: encoding/json has to look at it.
func scanSession(data []byte) (*Session, bool) {
	s := scanner{text: string(data)}
	var r Session
	if s.member("v") {
		r.V = int(s.uint32())
	}
	if s.member("uid") {
		r.UID = s.str()
	}
	if s.member("sid") {
		r.SID = s.str()
	}
	if s.member("channel") {
		r.Channel = Channel(s.str())
	}
	if s.member("client_id") {
		r.ClientID = s.str()
	}
	if s.member("scope") {
		r.Scope = s.str()
	}
	if s.member("gen") {
		r.Generation = s.uint32()
	}
	if s.member("rot_ms") {
		r.RotationsMS = s.int64s()
	}
	if s.member("secret_hash") {
		r.SecretHash = s.bytes()
	}
	if s.member("sep") {
		r.SEP = s.int64()
	}
	if s.member("cep") {
		r.CEP = s.int64()
	}
	if s.member("auth_time") {
		r.AuthTime = s.int64()
	}
	if s.member("acr") {
		r.ACR = s.str()
	}
	if s.member("amr") {
		r.AMR = s.strings()
	}
	if s.member("device") {
		r.Device = s.str()
	}
	if s.member("provider") {
		r.Provider = s.str()
	}
	if s.member("upstream_sid") {
		r.UpstreamSID = s.str()
	}
	if s.member("upstream_iss") {
		r.UpstreamIssuer = s.str()
	}
	if s.member("upstream_sub") {
		r.UpstreamSubject = s.str()
	}
	if s.member("created_at") {
		r.CreatedAt = s.int64()
	}
	if s.member("last_used") {
		r.LastUsed = s.int64()
	}
	if s.member("token_exp") {
		r.TokenExp = s.int64()
	}
	if s.member("sid_expires") {
		r.SIDExpires = s.int64()
	}
	if s.member("source") {
		r.Source = s.bytes()
	}
	// An ended session is nothing in a hurry.
	return &r, s.end() && r.V == recordVersion
}

// scanUser is [scanSession] for a user.
func scanUser(data []byte) (*User, bool) {
	s := scanner{text: string(data)}
	var r User
	if s.member("v") {
		r.V = int(s.uint32())
	}
	if s.member("uid") {
		r.UID = s.str()
	}
	if s.member("username") {
		r.Username = s.str()
	}
	if s.member("password_hash") {
		r.PasswordHash = s.str()
	}
	if s.member("password_serial") {
		r.PasswordSerial = s.int64()
	}
	if s.member("attributes") {
		r.Attributes = s.object(0)
	}
	if s.member("roles") {
		r.Roles = s.strings()
	}
	if s.member("groups") {
		r.Groups = s.strings()
	}
	if s.member("disabled") {
		r.Disabled = s.bool()
	}
	if s.member("accounts") {
		r.Accounts = scanList(&s, scanAccount)
	}
	if s.member("created_at") {
		r.CreatedAt = s.int64()
	}
	if s.member("last_login") {
		r.LastLogin = s.int64()
	}
	if s.member("epoch") {
		r.Epoch = s.int64()
	}
	return &r, s.end() && r.V == recordVersion
}

func scanAccount(s *scanner) Account {
	var a Account
	s.begun = false
	if s.member("iss") {
		a.Issuer = s.str()
	}
	if s.member("sub") {
		a.Subject = s.str()
	}
	s.want('}')
	s.begun = true
	return a
}
