package validator

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

func (w *vectorWriter) jose() {
	public, err := x509.MarshalPKIXPublicKey(w.rs.Public())
	w.must(err)
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	jwk, err := json.Marshal(jose.JSONWebKey{Key: w.rs.Public(), KeyID: "rs", Algorithm: "RS256"})
	w.must(err)
	for name, secret := range map[string][]byte{"DER": public, "PEM": asPEM, "JWK": jwk, "modulus": w.rs.N.Bytes(), "empty key": nil} {
		signed := w.signed("HS256", "rs")
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		w.add("HS256 with the public key as secret, "+name, "RFC 8725 §2.1", signed+"."+b64(mac.Sum(nil)), false)
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS384", "RS512", "ES384", "ES256K", "es256", "Ed25519", "A128KW", "dir"} {
		for _, signature := range []string{"", ".", "." + b64(make([]byte, 64))} {
			w.add(fmt.Sprintf("alg %q, signature %.6q", alg, signature), "RFC 8725 §3.1", w.signed(alg, "ec")+signature, false)
		}
	}
	es := func(head string) string {
		signed := b64([]byte(head)) + "." + b64([]byte(w.claims()))
		return signed + "." + b64(pair(w.signEC(signed)))
	}
	good := es(header("ES256", "ec"))
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	own, err := json.Marshal(jose.JSONWebKey{Key: other.Public(), KeyID: "ec", Algorithm: "ES256"})
	w.must(err)
	forged := func(extra string) string {
		signed := b64([]byte(`{"alg":"ES256","kid":"ec","typ":"at+jwt",`+extra+`}`)) + "." + b64([]byte(w.claims()))
		digest := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, other, digest[:])
		w.must(err)
		return signed + "." + b64(pair(r, s))
	}
	for name, extra := range map[string]string{
		"jwk": `"jwk":` + string(own), "jku": `"jku":"https://evil.example/keys"`,
		"x5u": `"x5u":"https://evil.example/cert"`, "x5c": `"x5c":["` + base64.StdEncoding.EncodeToString(public) + `"]`,
	} {
		w.add("a key of its own in "+name, "RFC 8725 §3.10: keys come only from the issuer", forged(extra), false)
		w.add(name+" under a good signature", "it is not asked", es(`{"alg":"ES256","kid":"ec","typ":"at+jwt",`+extra+`}`), true)
	}
	for _, kid := range []string{"../../../../dev/null", "ec' OR '1'='1", "EC", "ec ", "ec\u0000", "", "https://evil.example/key", "rs", "ed"} {
		head, err := json.Marshal(map[string]string{"alg": "ES256", "kid": kid, "typ": "at+jwt"})
		w.must(err)
		w.add(fmt.Sprintf("kid %q", kid), "RFC 8725 §3.10: a kid is looked up, to the letter", es(string(head)), false)
	}
	h, rest, _ := strings.Cut(good, ".")
	p, s, _ := strings.Cut(rest, ".")
	for name, token := range map[string]string{
		"a dot behind": good + ".", "a dot in front": "." + good, "two dots": h + ".." + p + "." + s, "five parts": good + "..",
		"padding on the signature": good + "==", "padding on the header": h + "=." + p + "." + s, "a space behind": good + " ",
		"a space inside": h + "." + p[:8] + " " + p[8:] + "." + s, "a line break inside": h + "." + p + "." + s[:8] + "\n" + s[8:],
		"a carriage return behind": good + "\r", "a tab in front": "\t" + good, "a zero byte behind": good + "\x00", "Bearer in front": "Bearer " + good,
		"the standard alphabet": h + "." + p + "." + strings.NewReplacer("-", "+", "_", "/").Replace(s) + "+", "percent sign": good + "%3D",
		"full width dot": h + "\uff0e" + p + "." + s, "JSON serialization": `{"protected":"` + h + `","payload":"` + p + `","signature":"` + s + `"}`,
		"empty": "", "dots": "..", "a payload of nothing": h + ".." + s, "a header of nothing": "." + p + "." + s,
	} {
		w.add("form: "+name, "RFC 7515 §3.1, §2: base64url without padding, line breaks or anything else", token, false)
	}
	w.add("good", "RFC 9068", good, true)
}

func (w *vectorWriter) json() {
	sign := func(head, claims string) string {
		signed := b64([]byte(head)) + "." + b64([]byte(claims))
		return signed + "." + b64(pair(w.signEC(signed)))
	}
	head := header("ES256", "ec")
	open := strings.TrimSuffix(head, "}")
	for name, bad := range map[string]string{
		"alg twice": open + `,"alg":"ES256"}`, "alg twice, none last": open + `,"alg":"none"}`, "alg twice, one escaped": open + `,"\u0061lg":"none"}`,
		"kid twice": open + `,"kid":"rs"}`, "crit": open + `,"crit":["exp"],"exp":1}`, "crit empty": open + `,"crit":[]}`,
		"b64 false": open + `,"crit":["b64"],"b64":false}`, "alg a list": `{"alg":["ES256"],"kid":"ec","typ":"at+jwt"}`,
		"alg null": `{"alg":null,"kid":"ec","typ":"at+jwt"}`, "kid a number": `{"alg":"ES256","kid":1,"typ":"at+jwt"}`,
		"typ JWT": `{"alg":"ES256","kid":"ec","typ":"JWT"}`, "typ missing": `{"alg":"ES256","kid":"ec"}`, "typ of a DPoP proof": `{"alg":"ES256","kid":"ec","typ":"dpop+jwt"}`,
		"names in capitals": `{"ALG":"ES256","KID":"ec","TYP":"at+jwt"}`, "a comma at the end": open + `,}`, "a comment": open + `/**/}`,
		"more behind": head + `{}`, "BOM in front": "\ufeff" + head, "single quotes": strings.ReplaceAll(head, `"`, `'`), "not an object": `["ES256"]`, "null": `null`,
	} {
		w.add("header: "+name, "RFC 7515 §4, RFC 9068 §4", sign(bad, w.claims()), false)
	}
	w.add("header with white space and escapes", "RFC 8259", sign(" {\n\t\"alg\" : \"ES\\u0032\\u0035\\u0036\" , \"kid\":\"ec\",\"typ\":\"at+jwt\" } ", w.claims()), true)
	claims := w.claims()
	open = strings.TrimSuffix(claims, "}")
	nested := sign(head, claims)
	for name, bad := range map[string]string{
		"sub twice": open + `,"sub":"root"}`, "exp twice": open + `,"exp":99999999999}`, "sub twice, one escaped": open + `,"s\u0075b":"root"}`,
		"twice, deep inside": open + `,"x":{"y":[{"z":1,"z":2}]}}`, "a lone surrogate as a name": open + `,"\ud800":1,"\ud801":2}`,
		"not UTF-8": open + ",\"x\":\"\xff\"}", "overlong UTF-8": open + ",\"x\":\"\xc0\xaf\"}", "a control character": open + ",\"x\":\"\x01\"}", "a raw line break": open + ",\"x\":\"\n\"}",
		"NaN": open + `,"x":NaN}`, "a hex number": open + `,"x":0x10}`, "a zero in front": open + `,"x":01}`, "a plus": open + `,"x":+1}`, "a dot in front": open + `,"x":.5}`,
		"a comma at the end": open + `,}`, "more behind": claims + "{}", "cut short": open, "a list": "[" + claims + "]", "a token": nested, "a token as a string": `"` + nested + `"`,
		"too deep":             open + `,"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
		"exp as a string":      strings.Replace(claims, fmt.Sprintf(`"exp":%d`, brokerNow+300), fmt.Sprintf(`"exp":"%d"`, brokerNow+300), 1),
		"exp a fraction":       strings.Replace(claims, fmt.Sprintf(`"exp":%d`, brokerNow+300), fmt.Sprintf(`"exp":%d.0`, brokerNow+300), 1),
		"exp with an exponent": strings.Replace(claims, fmt.Sprintf(`"exp":%d`, brokerNow+300), `"exp":17e8`, 1),
		"exp negative":         strings.Replace(claims, fmt.Sprintf(`"exp":%d`, brokerNow+300), `"exp":-1`, 1),
		"exp beyond 64 bits":   strings.Replace(claims, fmt.Sprintf(`"exp":%d`, brokerNow+300), `"exp":18446744073709551616`, 1),
		"exp missing":          strings.Replace(claims, fmt.Sprintf(`,"exp":%d`, brokerNow+300), "", 1),
		"iss with a slash":     strings.Replace(claims, `"https://issuer"`, `"https://issuer/"`, 1),
		"iss a list":           strings.Replace(claims, `"https://issuer"`, `["https://issuer"]`, 1),
		"aud an object":        strings.Replace(claims, `"test"`, `{"test":1}`, 1),
		"aud a part":           strings.Replace(claims, `"test"`, `"tes"`, 1),
		"aud in capitals":      strings.Replace(claims, `"test"`, `"TEST"`, 1),
	} {
		w.add("claims: "+name, "RFC 7519 §4, RFC 8725 §2.8", sign(head, bad), false)
	}
}
