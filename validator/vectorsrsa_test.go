package validator

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
)

// sha256Info is the DigestInfo of RFC 8017 §9.2 up to the digest.
var sha256Info = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// rawRSA is the private key's bare operation, on a block that no library would sign.
func (w *vectorWriter) rawRSA(block []byte) []byte {
	m := new(big.Int).SetBytes(block)
	return m.Exp(m, w.rs.D, w.rs.N).FillBytes(make([]byte, w.rs.Size()))
}

// block pads t to the key's size as EMSA-PKCS1-v1_5 does, with the padding byte given and
// trailing behind.
func (w *vectorWriter) block(kind, pad byte, t, trailing []byte) []byte {
	fill := w.rs.Size() - 3 - len(t) - len(trailing)
	b := append([]byte{0, kind}, bytes.Repeat([]byte{pad}, fill)...)
	return append(append(append(b, 0), t...), trailing...)
}

func (w *vectorWriter) rsa() {
	const why = "RFC 8017 §8.2.2: compare with the one encoding"
	info := func(change func([]byte) []byte) func([]byte) []byte {
		return func(digest []byte) []byte {
			return w.rawRSA(w.block(1, 0xff, change(append(bytes.Clone(sha256Info), digest...)), nil))
		}
	}
	same := func(t []byte) []byte { return t }
	good := info(same)
	for _, row := range []struct {
		name, why string
		sign      func(digest []byte) []byte
		valid     bool
	}{
		{"good", "RFC 7518 §3.3", good, true},
		{"without NULL in the algorithm", why, info(func(t []byte) []byte {
			return append([]byte{0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20}, t[19:]...)
		}), false},
		{"BER, long form of the outer length", why, info(func(t []byte) []byte { return append([]byte{0x30, 0x81, 0x31}, t[2:]...) }), false},
		{"BER, long form of the digest's length", why, info(func(t []byte) []byte {
			return append(append([]byte{0x30, 0x32}, t[2:18]...), append([]byte{0x81, 0x20}, t[19:]...)...)
		}), false},
		{"BER, indefinite length", why, info(func(t []byte) []byte { return append(append([]byte{0x30, 0x80}, t[2:]...), 0, 0) }), false},
		{"OID of SHA-512", why, info(func(t []byte) []byte { t[14] = 3; return t }), false},
		{"OID of SHA-1 and its digest", why, info(func(t []byte) []byte {
			return append([]byte{0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}, t[19:39]...)
		}), false},
		{"only the digest", why, info(func(t []byte) []byte { return t[19:] }), false},
		{"digest with a byte more inside", why, info(func(t []byte) []byte { t[1], t[18] = 0x32, 0x21; return append(t, 0) }), false},
		{"bytes behind the digest, little padding", "Bleichenbacher 2006; " + why, func(d []byte) []byte {
			return w.rawRSA(w.block(1, 0xff, append(bytes.Clone(sha256Info), d...), make([]byte, w.rs.Size()-3-8-51)))
		}, false},
		{"one byte behind the digest", why, func(d []byte) []byte {
			return w.rawRSA(w.block(1, 0xff, append(bytes.Clone(sha256Info), d...), []byte{0}))
		}, false},
		{"block type 2", why, func(d []byte) []byte { return w.rawRSA(w.block(2, 0xff, append(bytes.Clone(sha256Info), d...), nil)) }, false},
		{"block type 0", why, func(d []byte) []byte { return w.rawRSA(w.block(0, 0x00, append(bytes.Clone(sha256Info), d...), nil)) }, false},
		{"padding of other bytes", why, func(d []byte) []byte { return w.rawRSA(w.block(1, 0xfe, append(bytes.Clone(sha256Info), d...), nil)) }, false},
		{"a zero in the padding", why, func(d []byte) []byte {
			b := w.block(1, 0xff, append(bytes.Clone(sha256Info), d...), nil)
			b[20] = 0
			return w.rawRSA(b)
		}, false},
		{"zero", "RFC 8017 §5.2.2", func([]byte) []byte { return make([]byte, w.rs.Size()) }, false},
		{"one", "RFC 8017 §5.2.2", func([]byte) []byte { return big.NewInt(1).FillBytes(make([]byte, w.rs.Size())) }, false},
		{"the modulus", "RFC 8017 §5.2.2: below n", func([]byte) []byte { return w.rs.N.FillBytes(make([]byte, w.rs.Size())) }, false},
		{"n - 1", "RFC 8017 §5.2.2", func([]byte) []byte {
			return new(big.Int).Sub(w.rs.N, big.NewInt(1)).FillBytes(make([]byte, w.rs.Size()))
		}, false},
		{"n - s", "RFC 8017 §5.2.2", func(d []byte) []byte {
			s := new(big.Int).SetBytes(good(d))
			return s.Sub(w.rs.N, s).FillBytes(make([]byte, w.rs.Size()))
		}, false},
		{"a zero in front", "RFC 8017 §8.2.2: as long as the modulus", func(d []byte) []byte { return append([]byte{0}, good(d)...) }, false},
		{"a byte more", "RFC 8017 §8.2.2", func(d []byte) []byte { return append(good(d), 0) }, false},
		{"a byte short", "RFC 8017 §8.2.2", func(d []byte) []byte { return good(d)[:255] }, false},
		{"empty", "RFC 8017 §8.2.2", func([]byte) []byte { return nil }, false},
		{"by PSS", "RFC 7518 §3.3", func(d []byte) []byte { return w.signPSS(d, crypto.SHA256, 32) }, false},
	} {
		signed := w.signed("RS256", "rs")
		digest := sha256.Sum256([]byte(signed))
		w.add("RS256 "+row.name, row.why, signed+"."+b64(row.sign(digest[:])), row.valid)
	}
	for _, row := range []struct {
		name  string
		sign  func(digest []byte) []byte
		valid bool
	}{
		{"good", func(d []byte) []byte { return w.signPSS(d, crypto.SHA256, 32) }, true},
		{"with the longest salt", func(d []byte) []byte { return w.signPSS(d, crypto.SHA256, rsa.PSSSaltLengthAuto) }, false},
		{"with a salt of 20 bytes", func(d []byte) []byte { return w.signPSS(d, crypto.SHA256, 20) }, false},
		{"with a salt of 64 bytes", func(d []byte) []byte { return w.signPSS(d, crypto.SHA256, 64) }, false},
		{"by PKCS #1 1.5", good, false},
	} {
		signed := w.signed("PS256", "ps")
		digest := sha256.Sum256([]byte(signed))
		w.add("PS256 "+row.name, "RFC 7518 §3.5: a salt as long as the hash", signed+"."+b64(row.sign(digest[:])), row.valid)
	}
}

func (w *vectorWriter) signPSS(digest []byte, hash crypto.Hash, salt int) []byte {
	signature, err := rsa.SignPSS(rand.Reader, w.rs, hash, digest, &rsa.PSSOptions{SaltLength: salt})
	w.must(err)
	return signature
}
