// Command minimal is the smallest service that accepts the broker's tokens.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"tokenbroker/revocation/natsfeed"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
)

func main() {
	v, err := validator.New(context.Background(), validator.Config{ // returns when keys and live revocations are in memory
		Issuer:   "http://127.0.0.1:8080",
		Audience: "demo-api",
		Client:   validator.Client{ID: "demo-service", Secret: os.Getenv("SERVICE_SECRET")},
		Feed:     natsfeed.Feed{URL: "nats://127.0.0.1:4222"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	mux := http.NewServeMux()
	mux.Handle("GET /greet", httpauth.Require(v, httpauth.Scope("hello:read"))(http.HandlerFunc(greet)))
	server := &http.Server{Addr: "127.0.0.1:8083", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	log.Print(server.ListenAndServe())
}

func greet(w http.ResponseWriter, r *http.Request) {
	claims, _ := validator.FromContext(r.Context())
	_, _ = fmt.Fprintf(w, "hello %s\n", claims.Subject)
}
