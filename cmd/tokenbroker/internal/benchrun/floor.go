package benchrun

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-jose/go-jose/v4"

	"tokenbroker/bench/load"
)

// handler is a floor: gin handlers that store nothing, in this process, on a free port.
type handler struct {
	server *Server // for requests to it
	http   *http.Server
	done   chan struct{}
}

const (
	signPath = "/sign"
	echoPath = "/echo"
	// claimBytes and answerBytes are about the sizes of a real token's claims and of a real response.
	claimBytes  = 450
	answerBytes = 600
)

// startHandler starts a handler with a goroutine, which stop ends and waits for. POST signPath makes one
// ES256 signature, POST echoPath none.
func startHandler() (*handler, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the floor's key: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the floor: %w", err)
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.POST(signPath, func(c *gin.Context) {
		token, err := signed(key)
		if _, bodyErr := io.Copy(io.Discard, c.Request.Body); err != nil || bodyErr != nil {
			c.Status(http.StatusInternalServerError)
			return
		}
		c.JSON(http.StatusOK, map[string]string{"access_token": token})
	})
	answer := strings.Repeat("a", answerBytes)
	engine.POST(echoPath, func(c *gin.Context) {
		if _, err := io.Copy(io.Discard, c.Request.Body); err != nil {
			c.Status(http.StatusInternalServerError)
			return
		}
		c.JSON(http.StatusOK, map[string]string{"claims": answer})
	})
	h := &handler{
		server: &Server{options: Options{URL: "http://" + l.Addr().String()}, http: newHTTP()},
		http:   &http.Server{Handler: engine, ReadHeaderTimeout: requestTimeout},
		done:   make(chan struct{}),
	}
	go func() {
		defer close(h.done)
		if err := h.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			_ = l.Close() // the floor's requests fail and report it
		}
	}()
	return h, nil
}

// signed returns a token of about the size of a real one, with one ES256 signature.
func signed(key *ecdsa.PrivateKey) (string, error) {
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"floor"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(make([]byte, claimBytes))
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}

// work returns clients that send requests to the handler as the browsers do to the server.
func (h *handler) work(path, body string) load.Work {
	cookie := ownCookie + "=" + strings.Repeat("r", 120)
	return func(ctx context.Context, _ int) error {
		_, err := h.server.post(ctx, path, body, cookie)
		return err
	}
}

func (h *handler) stop() {
	h.server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := h.http.Shutdown(ctx); err != nil {
		_ = h.http.Close()
	}
	<-h.done
}

// The floors, each with a short name for the plots' legends, and a description.
const (
	floorSignature = "gin and one ES256 signature: a handler in this process that stores nothing, under the same load"
	floorBytes     = "gin and about as many bytes: a handler in this process that does nothing, under the same load"
	floorPassword  = "argon2id: one at the server's cost, nothing stored, without HTTP"
	floorBroadcast = "raw NATS: one fsync, one publish, one Ed25519 check by each of as many subscribers on connections of their own"
	floorLive      = "GET /livez: of the same server, under the same load"
)

// liveFloor returns the floor of a server at a URL.
func (b *Bench) liveFloor() load.Work {
	b.Report.Floor = floorLive
	return func(ctx context.Context, _ int) error {
		_, err := b.Server.get(ctx, "/livez")
		return err
	}
}

// rawSignature verifies a token's signature and nothing else. It is the floor of validating a token for
// the first time.
type rawSignature struct {
	algorithm string
	keys      map[string]crypto.PublicKey // by kid
}

// fetchRawSignature fetches the server's keys, for tokens like token.
func (s *Server) fetchRawSignature(ctx context.Context, token string) (*rawSignature, error) {
	var header struct {
		Algorithm string `json:"alg"`
	}
	if err := tokenPart(token, 0, &header); err != nil {
		return nil, err
	}
	body, err := s.get(ctx, "/.well-known/jwks.json")
	if err != nil {
		return nil, fmt.Errorf("fetching the keys: %w", err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("reading the keys: %w", err)
	}
	raw := &rawSignature{algorithm: header.Algorithm, keys: map[string]crypto.PublicKey{}}
	for _, key := range set.Keys {
		raw.keys[key.KeyID] = key.Key
	}
	return raw, nil
}

// signedToken is a token that was decoded before the measurement, because decoding is not part of the
// signature's cost.
type signedToken struct {
	input     []byte
	signature []byte
	key       crypto.PublicKey
}

func (r *rawSignature) prepare(token string) (signedToken, error) {
	var header struct {
		KeyID string `json:"kid"`
	}
	if err := tokenPart(token, 0, &header); err != nil {
		return signedToken{}, err
	}
	key, ok := r.keys[header.KeyID]
	if !ok {
		return signedToken{}, errors.New("the server does not publish the key of its token")
	}
	end := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[end+1:])
	if err != nil {
		return signedToken{}, fmt.Errorf("reading a signature: %w", err)
	}
	if _, ok := key.(*ecdsa.PublicKey); ok { // crypto/ecdsa needs DER
		half := len(signature) / 2
		signature, err = asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]),
		})
		if err != nil {
			return signedToken{}, fmt.Errorf("reading a signature: %w", err)
		}
	}
	return signedToken{input: []byte(token[:end]), signature: signature, key: key}, nil
}

var errBadSignature = errors.New("a token of the server has an invalid signature")

// check verifies hash and signature according to RFC 7515 for the algorithm.
func (r *rawSignature) check(t signedToken) error {
	good := false
	switch key := t.key.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(t.input)
		good = r.algorithm == "ES256" && ecdsa.VerifyASN1(key, digest[:], t.signature)
	case ed25519.PublicKey:
		good = r.algorithm == "EdDSA" && ed25519.Verify(key, t.input, t.signature)
	case *rsa.PublicKey:
		digest := sha256.Sum256(t.input)
		if r.algorithm == "PS256" {
			good = rsa.VerifyPSS(key, crypto.SHA256, digest[:], t.signature, nil) == nil
		} else {
			good = r.algorithm == "RS256" && rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], t.signature) == nil
		}
	}
	if !good {
		return errBadSignature
	}
	return nil
}
