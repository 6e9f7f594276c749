package validator

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/asn1"
	"fmt"
	"math/big"
)

func (w *vectorWriter) signEC(signed string) (r, s *big.Int) {
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, w.ec, digest[:])
	w.must(err)
	return r, s
}

func pair(r, s *big.Int) []byte {
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func (w *vectorWriter) ecdsa() {
	order := elliptic.P256().Params().N
	prime := elliptic.P256().Params().P
	zero, one, ones := new(big.Int), big.NewInt(1), new(big.Int).SetBytes(bytes.Repeat([]byte{0xff}, 32))
	less := new(big.Int).Sub(order, one)
	for _, row := range []struct {
		name, why string
		change    func(r, s *big.Int) []byte
		valid     bool
	}{
		{"good", "RFC 7518 §3.4", pair, true},
		{"s negated", "ECDSA has two signatures, and RFC 7518 asks for neither of them", func(r, s *big.Int) []byte { return pair(r, new(big.Int).Sub(order, s)) }, true},
		{"r negated", "FIPS 186-5 §6.4.2", func(r, s *big.Int) []byte { return pair(new(big.Int).Sub(order, r), s) }, false},
		{"r and s exchanged", "FIPS 186-5 §6.4.2", func(r, s *big.Int) []byte { return pair(s, r) }, false},
		{"both zero", "FIPS 186-5 §6.4.2: r and s in [1, n-1] (CVE-2022-21449)", func(_, _ *big.Int) []byte { return pair(zero, zero) }, false},
		{"r zero", "FIPS 186-5 §6.4.2", func(_, s *big.Int) []byte { return pair(zero, s) }, false},
		{"s zero", "FIPS 186-5 §6.4.2", func(r, _ *big.Int) []byte { return pair(r, zero) }, false},
		{"r the order", "FIPS 186-5 §6.4.2", func(_, s *big.Int) []byte { return pair(order, s) }, false},
		{"s the order", "FIPS 186-5 §6.4.2", func(r, _ *big.Int) []byte { return pair(r, order) }, false},
		{"both the order", "FIPS 186-5 §6.4.2", func(_, _ *big.Int) []byte { return pair(order, order) }, false},
		{"r the prime", "FIPS 186-5 §6.4.2", func(_, s *big.Int) []byte { return pair(prime, s) }, false},
		{"both one", "FIPS 186-5 §6.4.2", func(_, _ *big.Int) []byte { return pair(one, one) }, false},
		{"both n-1", "FIPS 186-5 §6.4.2", func(_, _ *big.Int) []byte { return pair(less, less) }, false},
		{"all bits set", "FIPS 186-5 §6.4.2", func(_, _ *big.Int) []byte { return pair(ones, ones) }, false},
		{"r one, s n-1", "FIPS 186-5 §6.4.2", func(_, _ *big.Int) []byte { return pair(one, less) }, false},
		{"r of all bits", "FIPS 186-5 §6.4.2", func(_, s *big.Int) []byte { return pair(ones, s) }, false},
		{"s of all bits", "FIPS 186-5 §6.4.2", func(r, _ *big.Int) []byte { return pair(r, ones) }, false},
		{"as DER", "RFC 7518 §3.4: 64 octets", func(r, s *big.Int) []byte {
			der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
			w.must(err)
			return der
		}, false},
		{"empty", "RFC 7518 §3.4", func(_, _ *big.Int) []byte { return nil }, false},
		{"only r", "RFC 7518 §3.4", func(r, s *big.Int) []byte { return pair(r, s)[:32] }, false},
		{"one byte short", "RFC 7518 §3.4", func(r, s *big.Int) []byte { return pair(r, s)[:63] }, false},
		{"one byte more", "RFC 7518 §3.4", func(r, s *big.Int) []byte { return append(pair(r, s), 0) }, false},
		{"zeros in front of both", "RFC 7518 §3.4", func(r, s *big.Int) []byte {
			return append(r.FillBytes(make([]byte, 33)), s.FillBytes(make([]byte, 33))...)
		}, false},
		{"twice", "RFC 7518 §3.4", func(r, s *big.Int) []byte { return bytes.Repeat(pair(r, s), 2) }, false},
	} {
		signed := w.signed("ES256", "ec")
		w.add("ES256 "+row.name, row.why, signed+"."+b64(row.change(w.signEC(signed))), row.valid)
	}
	signed := w.signed("ES256", "ec")
	digest := sha512.Sum512([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, w.ec, digest[:])
	w.must(err)
	w.add("ES256 over SHA-512", "RFC 7518 §3.4", signed+"."+b64(pair(r, s)), false)
}

func (w *vectorWriter) ed25519() {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	scalar := func(signature []byte, change func(s *big.Int)) []byte {
		le := bytes.Clone(signature[32:])
		reverse(le)
		s := new(big.Int).SetBytes(le)
		change(s)
		le = s.FillBytes(make([]byte, 32))
		reverse(le)
		return append(bytes.Clone(signature[:32]), le...)
	}
	point := func(text string) []byte {
		var p []byte
		_, err := fmt.Sscanf(text, "%x", &p)
		w.must(err)
		return p
	}
	identity := append([]byte{1}, make([]byte, 31)...)
	for _, row := range []struct {
		name, why string
		change    func(signature []byte) []byte
		valid     bool
	}{
		{"good", "RFC 8037 §3.1", func(g []byte) []byte { return g }, true},
		{"S + L", "RFC 8032 §5.1.7: S below L, or a signature has two forms", func(g []byte) []byte { return scalar(g, func(s *big.Int) { s.Add(s, order) }) }, false},
		{"L - S", "RFC 8032 §5.1.7", func(g []byte) []byte { return scalar(g, func(s *big.Int) { s.Sub(order, s) }) }, false},
		{"S the order", "RFC 8032 §5.1.7", func(g []byte) []byte { return scalar(g, func(s *big.Int) { s.Set(order) }) }, false},
		{"S zero", "RFC 8032 §5.1.7", func(g []byte) []byte { return scalar(g, func(s *big.Int) { s.SetInt64(0) }) }, false},
		{"S of all bits", "RFC 8032 §5.1.7", func(g []byte) []byte { return append(bytes.Clone(g[:32]), bytes.Repeat([]byte{0xff}, 32)...) }, false},
		{"all zero", "RFC 8032 §5.1.7", func([]byte) []byte { return make([]byte, 64) }, false},
		{"R the neutral point", "RFC 8032 §5.1.7", func(g []byte) []byte { return append(bytes.Clone(identity), g[32:]...) }, false},
		{"R the neutral point, S zero", "RFC 8032 §5.1.7", func([]byte) []byte { return append(bytes.Clone(identity), make([]byte, 32)...) }, false},
		{"R of order 2", "a point of small order", func(g []byte) []byte {
			return append(point("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), make([]byte, 32)...)
		}, false},
		{"R of order 4", "a point of small order", func([]byte) []byte { return make([]byte, 64) }, false},
		{"R of order 8", "a point of small order", func([]byte) []byte {
			return append(point("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), make([]byte, 32)...)
		}, false},
		{"R not canonical", "RFC 8032 §5.1.3: y below p", func([]byte) []byte {
			return append(point("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), make([]byte, 32)...)
		}, false},
		{"R with the other sign", "RFC 8032 §5.1.7", func(g []byte) []byte { g[31] ^= 0x80; return g }, false},
		{"empty", "RFC 8032 §5.1.7", func([]byte) []byte { return nil }, false},
		{"one byte short", "RFC 8032 §5.1.7", func(g []byte) []byte { return g[:63] }, false},
		{"one byte more", "RFC 8032 §5.1.7", func(g []byte) []byte { return append(g, 0) }, false},
	} {
		signed := w.signed("EdDSA", "ed")
		w.add("EdDSA "+row.name, row.why, signed+"."+b64(row.change(ed25519.Sign(w.ed, []byte(signed)))), row.valid)
	}
	signed := w.signed("EdDSA", "ed")
	digest := sha512.Sum512([]byte(signed))
	for name, options := range map[string]*ed25519.Options{"Ed25519ph": {Hash: crypto.SHA512}, "Ed25519ctx": {Context: "x"}} {
		message := []byte(signed)
		if options.Hash != 0 {
			message = digest[:]
		}
		signature, err := w.ed.Sign(nil, message, options)
		w.must(err)
		w.add("EdDSA by "+name, "RFC 8037 §3.1: the pure form", signed+"."+b64(signature), false)
	}
}

func reverse(b []byte) {
	for i := range len(b) / 2 {
		b[i], b[len(b)-1-i] = b[len(b)-1-i], b[i]
	}
}
