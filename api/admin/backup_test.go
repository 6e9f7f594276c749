package admin_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenbroker/api/admin"
	"tokenbroker/api/internal/apitest"
)

// backupServer answers with a backup that write makes.
func backupServer(t *testing.T, write admin.Backup) (ask func() (*http.Response, error), log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	server := httptest.NewServer(newAdmin(&fakeOperators{}, func(c *admin.Config) {
		c.Backup, c.Logger = write, slog.New(slog.NewTextHandler(log, nil))
	}))
	t.Cleanup(server.Close)
	return func() (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/admin/v1/backup", nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+adminToken)
		return server.Client().Do(r)
	}, log
}

func TestABackupThatFailsIsCutOff(t *testing.T) {
	ask, log := backupServer(t, func(_ context.Context, w io.Writer) error {
		_, _ = io.WriteString(w, strings.Repeat("x", 64<<10))
		return errors.New("the disk is gone")
	})
	res, err := ask()
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	if err == nil {
		t.Error("the answer appears to be complete")
	}
	if got := log.String(); !strings.Contains(got, "event=backup_failed") || !strings.Contains(got, "the disk is gone") {
		t.Errorf("log: %s", got)
	}
}

func TestOneBackupAtATime(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	ask, _ := backupServer(t, func(_ context.Context, w io.Writer) error {
		close(begun)
		<-goOn
		_, err := io.WriteString(w, "backup")
		return err
	})
	first := make(chan error, 1)
	go func() {
		res, err := ask()
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		first <- err
	}()
	<-begun
	res, err := ask()
	if err != nil {
		t.Fatal(err)
	}
	apitest.Want(t, res, http.StatusServiceUnavailable, "busy")
	close(goOn)
	if err := <-first; err != nil {
		t.Error(err)
	}
}
