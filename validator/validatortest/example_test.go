package validatortest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"tokenbroker/revocation"
	"tokenbroker/validator"
	"tokenbroker/validator/httpauth"
	"tokenbroker/validator/validatortest"
)

// A service's test: a token is good, and refused once its user was revoked. In a test,
// [validatortest.New] closes the issuer, and [validatortest.Await] waits until the validator
// has heard of the revocation.
func Example() {
	issuer := validatortest.Start()
	defer issuer.Close()
	v, err := validator.New(context.Background(), issuer.Config("orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()

	token := issuer.Mint(validatortest.Claims{"sub": "ada", "scope": "orders:read"})
	claims, err := v.Validate(context.Background(), token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(claims.Subject, claims.Audience)

	issuer.Revoke(revocation.Event{Kind: revocation.KindSub, Value: "ada", Epoch: 2})
	for err == nil {
		_, err = v.Validate(context.Background(), token)
	}
	fmt.Println(errors.Is(err, validator.ErrRevoked))
	// Output:
	// ada [orders]
	// true
}

// Any claim can be another one, so that a handler is tested with what it has to refuse.
func ExampleIssuer_Mint() {
	issuer := validatortest.Start()
	defer issuer.Close()
	v, err := validator.New(context.Background(), issuer.Config("orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()
	orders := httpauth.Require(v, httpauth.Scope("orders:read"), httpauth.Logger(nil))(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))

	for _, token := range []string{
		issuer.Mint(validatortest.Claims{"scope": "orders:read"}),
		issuer.Mint(nil), // no scope
		issuer.Mint(validatortest.Claims{"aud": "invoices"}),
		issuer.Mint(validatortest.Claims{"iat": 1600000000, "nbf": nil, "exp": 1600000300}),
	} {
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		orders.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 200
	// 403
	// 401
	// 401
}

// A wrong secret ends the start at once.
func ExampleIssuer_Config() {
	issuer := validatortest.Start()
	defer issuer.Close()
	config := issuer.Config("orders")
	config.Client.Secret = "another one"
	_, err := validator.New(context.Background(), config)
	fmt.Println(errors.Is(err, validator.ErrMisconfigured))
	// Output: true
}
