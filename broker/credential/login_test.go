package credential_test

import (
	"strings"
	"testing"
	"time"

	"tokenbroker/broker"
	"tokenbroker/broker/brokertest"
	"tokenbroker/broker/credential"
)

// Browsers ignore a cookie whose name and value have more than 4,096 bytes (RFC 6265bis §5.7).
func TestLoginStateOfTheLongestAuthorizationRequestFitsACookie(t *testing.T) {
	sum := strings.Repeat("s", 26)
	sealed, err := credential.LoginState{
		Provider: strings.Repeat("p", 32), RedirectURI: "https://" + strings.Repeat("h", 200) + "/auth/callback/" + strings.Repeat("p", 32) + "/",
		State: credential.RandomText(), Nonce: credential.RandomText(), Verifier: credential.RandomText(),
		ReturnTo: "/auth/authorize?" + strings.Repeat("r", broker.MaxAuthorizationQuery+255),
		Replaces: &credential.PriorSession{UID: sum, SID: sum, SecretHash: make([]byte, 32)},
	}.Seal(brokertest.Secrets{}, now.Add(time.Minute))
	if size := len("__Host-tb_login_") + 16 + len(sealed); err != nil || size > 4096 {
		t.Errorf("the cookie has %d bytes, %v", size, err)
	}
}
