package adminclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

var errSilent = errors.New("the server sends nothing any more")

// Backup writes a backup of the server's records to w as it comes, however long that takes.
// Only reading it tells whether it is whole: a server that is stopped may end it early.
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
	resp, err := c.http.Do(req)
	if err != nil {
		return c.failed(ctx, false, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what is missing of it is not said
		return c.problem(resp, answer)
	}
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
		case err != nil:
			return fmt.Errorf("reading the backup from %s: %w", c.target, err)
		}
	}
}
