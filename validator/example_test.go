package validator_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

// A service validates tokens by itself; validatortest stands for the broker here.
func Example() {
	issuer := validatortest.Start()
	defer issuer.Close()

	ctx := context.Background()
	v, err := validator.New(ctx, validator.Config{
		Issuer:   issuer.URL(),
		Audience: "orders",
		Client:   validator.Client{ID: validatortest.ClientID, Secret: validatortest.ClientSecret},
		Feed:     issuer.Feed(), // natsfeed.Feed{URL: "nats://…"} in a real service
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	token := issuer.Mint(validatortest.Claims{"aud": "orders", "sub": "ada", "scope": "orders:read"})
	claims, err := v.Validate(ctx, token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(claims.Subject, claims.HasScope("orders:read"))

	_, err = v.Validate(ctx, issuer.Mint(validatortest.Claims{"aud": "invoices"}))
	fmt.Println(errors.Is(err, validator.ErrInvalid))
	// Output:
	// ada true
	// true
}

// A middleware does it for every request and puts the claims into the context.
func ExampleFromContext() {
	issuer := validatortest.Start()
	defer issuer.Close()
	v, err := validator.New(context.Background(), issuer.Config("orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := validator.FromContext(r.Context())
		fmt.Fprintln(w, "orders of", claims.Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /orders", httpauth.Require(v, httpauth.Scope("orders:read"))(orders))

	for _, scope := range []string{"orders:read", "profile"} {
		r := httptest.NewRequest("GET", "/orders", nil)
		token := issuer.Mint(validatortest.Claims{"aud": "orders", "sub": "ada", "scope": scope})
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	// Output:
	// 200 orders of ada
	// 403 {"type":"about:blank","title":"The access token lacks a scope","status":403,"code":"insufficient_scope"}
}
