package adminclient

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tokenbroker/api/admin"
)

const (
	// watchSilence is how long the server, which sends something every 10 s, may send nothing.
	watchSilence = 30 * time.Second
	// maxWatchLine is the maximum length of a line: a batch of 512 KiB, and the rest of the event.
	maxWatchLine = 2 << 20
)

// ErrStreamEnded is wrapped by the error if the server ended a stream that had begun: call again.
var ErrStreamEnded = errors.New("the server ended the stream")

// Watch calls begun when the stream begins, and then take for each event, whose data take owns. It returns the
// error of take unchanged, an error that wraps [ErrStreamEnded] if the stream ends, or the reason why there was
// no stream.
func (c *Client) Watch(ctx context.Context, begun func(), take func(admin.WatchEvent) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(watchSilence, func() { cancel(fmt.Errorf("nothing was heard for %s", watchSilence)) })
	defer silent.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/admin/v1/watch", nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Accept", "text/event-stream, application/problem+json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.failed(ctx, false, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxWatchLine)) // if that fails, only the status is reported
		return c.problem(resp, body)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxWatchLine)
	var e admin.WatchEvent
	for lines.Scan() {
		silent.Reset(watchSilence)
		if begun != nil { // the server begins with a comment
			begun()
			begun = nil
		}
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(": "))
		switch {
		case string(name) == "event":
			e.Name = string(value)
		case string(name) == "data":
			e.Data = bytes.Clone(value)
		case len(lines.Bytes()) == 0 && e.Data != nil:
			if err := take(e); err != nil {
				return err
			}
			e = admin.WatchEvent{}
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.EOF
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%w: %s: %w", ErrStreamEnded, c.target, err)
}

var errSilent = errors.New("the server sends nothing any more")

// Backup writes a backup of the server's records to w as it arrives, without a limit on the total time. Only
// reading the backup shows whether it is complete: a server that is stopped may end it early.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(requestTimeout, func() { cancel(errSilent) })
	defer watchdog.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/admin/v1/backup", nil)
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	var resp *http.Response
	err = patiently(ctx, req.Method, func() error {
		watchdog.Reset(requestTimeout)
		if resp, err = c.http.Do(req); err != nil {
			return c.failed(ctx, false, err)
		}
		if resp.StatusCode == http.StatusOK {
			return nil
		}
		defer func() { _ = resp.Body.Close() }()
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // if that fails, only the status is reported
		return c.problem(resp, answer)
	})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	buf := make([]byte, 256<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			watchdog.Reset(requestTimeout)
			if _, err := w.Write(buf[:n]); err != nil {
				return fmt.Errorf("writing the backup: %w", err)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && errors.Is(context.Cause(ctx), errSilent):
			return fmt.Errorf("reading the backup from %s: %w", c.target, errSilent)
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("reading the backup from %s: %w: the server ended it early, and its log has the reason", c.target, err)
		case err != nil:
			return fmt.Errorf("reading the backup from %s: %w", c.target, err)
		}
	}
}
