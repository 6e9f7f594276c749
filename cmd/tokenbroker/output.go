package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"

	"tokenbroker/cmd/tokenbroker/internal/adminclient"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
)

// String, Set and Type make it a flag's value.
func (f *outputFormat) String() string { return string(*f) }

// Set takes text or json.
func (f *outputFormat) Set(text string) error {
	switch outputFormat(text) {
	case outputText, outputJSON:
		*f = outputFormat(text)
		return nil
	}
	return errors.New("want text or json")
}

// Type is what help calls the value.
func (f *outputFormat) Type() string { return "text|json" }

// outputFlag adds --output to cmd and those below it.
func outputFlag(cmd *cobra.Command, f *outputFormat) {
	*f = outputText
	cmd.PersistentFlags().Var(f, "output", "how to print: text or json (one document; an error is an object on stderr)")
}

// emit prints v as one JSON document, or what text makes of it.
func emit(stdout io.Writer, f outputFormat, v any, text func(w io.Writer)) error {
	var b bytes.Buffer
	if f == outputJSON {
		body, err := jsonDocument(v)
		if err != nil {
			return err
		}
		b.Write(body)
	} else {
		text(&b)
	}
	if _, err := stdout.Write(b.Bytes()); err != nil {
		return fmt.Errorf("printing the answer: %w", err)
	}
	return nil
}

// jsonDocument is v as indented JSON in which a terminal finds nothing to obey.
func jsonDocument(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding the answer: %w", err)
	}
	return plainJSON(b.String()), nil
}

// plainJSON escapes what encoding/json leaves as it is and a terminal would obey: DEL, C1,
// direction marks.
func plainJSON(text string) []byte {
	var out bytes.Buffer
	for _, r := range text {
		switch {
		case r < 0x7f || unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			_, _ = fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		default:
			_, _ = fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.Bytes()
}

// table prints rows under a header, columns aligned. Cells must be plain.
func table(w io.Writer, header string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if header != "" {
		_, _ = fmt.Fprintln(tw, strings.ReplaceAll(header, "|", "\t"))
	}
	for _, row := range rows {
		_, _ = fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush() // into memory
}

// cell is text from the server for a table.
func cell(text string) string {
	if text == "" {
		return "-"
	}
	return adminclient.Plain(text)
}

// cells joins several.
func cells(texts []string) string {
	plain := make([]string, len(texts))
	for i, t := range texts {
		plain[i] = adminclient.Plain(t)
	}
	if len(plain) == 0 {
		return "-"
	}
	return strings.Join(plain, ",")
}

// stamp is a time in RFC 3339, UTC, or "-" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// errorObject is what --output json prints of an error, on stderr.
type errorObject struct {
	Error  string `json:"error"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// report prints err as cmd's --output wants it and returns the exit code.
func report(stderr io.Writer, cmd *cobra.Command, err error) int {
	code, object := exitFailed, errorObject{Error: err.Error(), Code: "failed", Detail: err.Error()}
	var problem *adminclient.Problem
	switch {
	case errors.Is(err, errUsage), errors.Is(err, adminclient.ErrOptions):
		code = exitUsage
		object = errorObject{Error: usageText(err), Code: "usage", Detail: usageText(err)}
	case errors.As(err, &problem):
		object.Detail = problem.Detail
		if problem.Code != "" {
			object.Code = string(problem.Code)
		}
	case errors.Is(err, adminclient.ErrNoServer):
		object.Code = "no_server"
	}
	if flag := cmd.Flags().Lookup("output"); flag != nil && flag.Value.String() == string(outputJSON) {
		if body, jsonErr := jsonDocument(object); jsonErr == nil {
			_, _ = stderr.Write(body)
			return code
		}
	}
	_, _ = fmt.Fprintf(stderr, "tokenbroker: %s\n", object.Error)
	if code == exitUsage {
		_, _ = fmt.Fprintln(stderr, "Run 'tokenbroker --help' for the commands and flags.")
	}
	return code
}
