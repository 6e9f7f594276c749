package benchrun

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"tokenbroker/bench/load"
)

// handler is a floor: gin handlers that store nothing, in this process, on a free port.
type handler struct {
	server *Server // how it is asked
	http   *http.Server
	done   chan struct{}
}

const (
	signPath = "/sign"
	echoPath = "/echo"
	// claimBytes and answerBytes are about a real token's and a real answer's.
	claimBytes  = 450
	answerBytes = 600
)

// startHandler owns a goroutine, which stop ends and waits for. POST signPath makes one ES256
// signature, POST echoPath none.
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
			_ = l.Close() // the floor's requests fail, and say so
		}
	}()
	return h, nil
}

// signed is a token of about the real one's size under one ES256 signature.
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

// work asks the handler as the browsers ask the server.
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

// The floors: a short name, as in the plots' legends, and what it is.
const (
	floorSignature = "gin and one ES256 signature: a handler in this process that stores nothing, under the same load"
	floorBytes     = "gin and about as many bytes: a handler in this process that does nothing, under the same load"
	floorPassword  = "argon2id: one at the server's cost, nothing stored, without HTTP"
	floorBroadcast = "raw NATS: one fsync, one publish, one Ed25519 check by each of as many subscribers on connections of their own"
	floorLive      = "GET /livez: of the same server, under the same load"
)

// refreshFloor is what refreshes are compared with, and how it is stopped.
func (b *Bench) refreshFloor() (work load.Work, stop func(), err error) {
	if !b.Server.Own() {
		b.Report.Floor = floorLive
		return func(ctx context.Context, _ int) error {
			_, err := b.Server.get(ctx, "/livez")
			return err
		}, func() {}, nil
	}
	h, err := startHandler()
	if err != nil {
		return nil, nil, err
	}
	b.Report.Floor = floorSignature
	return h.work(signPath, `{"CSRF_token":"`+strings.Repeat("c", 43)+`"}`), h.stop, nil
}
