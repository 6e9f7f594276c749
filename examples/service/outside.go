package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// secret returns the environment variable of that name, or the content of the file that the
// variable name_FILE names, without the newline at its end.
func secret(name string) (string, error) {
	value, file := os.Getenv(name), os.Getenv(name+"_FILE")
	if value != "" && file != "" {
		return "", fmt.Errorf("%s and %s_FILE are both set: keep one", name, name)
	}
	if file == "" {
		return value, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading %s_FILE: %w", name, err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	switch {
	case text == "":
		return "", fmt.Errorf("reading %s_FILE: %s is empty", name, file)
	case strings.TrimSpace(text) != text, strings.ContainsAny(text, "\n\r\ufeff"):
		return "", fmt.Errorf("reading %s_FILE: %s has to be one line without a byte order mark, and without spaces at its ends", name, file)
	}
	return text, nil
}

// brokerClient is nil, for the validator's own, when address is empty. Otherwise it asks at
// that address regardless of the URL: the issuer is a name for browsers, and in a container
// 127.0.0.1 or a public name does not lead to the broker.
func brokerClient(address string) *http.Client {
	if address == "" {
		return nil
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
			ForceAttemptHTTP2:     true,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: 10 * time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   4,
		},
	}
}
