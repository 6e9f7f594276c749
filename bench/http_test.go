package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// post sends one JSON body and reads the whole answer, which has to be a 200.
func post(client *http.Client, url, body, cookie string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Cookie", cookie)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %d %s", url, resp.StatusCode, answer)
	}
	return resp, nil
}

// none is the ports of api that these benches never reach.
type none struct{}

func (none) Verify(context.Context, string) (json.RawMessage, error) {
	return nil, errors.New("not part of the bench")
}

func (none) Answer(context.Context, string) (any, error) {
	return nil, errors.New("not part of the bench")
}

func noDocument() ([]byte, string, time.Duration) { return []byte("{}"), "none", time.Second }
