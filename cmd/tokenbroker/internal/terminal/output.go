package terminal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"

	"github.com/spf13/cobra"
)

// Format is the value of --output.
type Format string

// The formats of a command's output.
const (
	Text Format = "text"
	JSON Format = "json"
)

// String, Set and Type make it a flag's value.
func (f *Format) String() string { return string(*f) }

// Set takes text or json.
func (f *Format) Set(text string) error {
	switch Format(text) {
	case Text, JSON:
		*f = Format(text)
		return nil
	}
	return errors.New("want text or json")
}

// Type is what help calls the value.
func (f *Format) Type() string { return "text|json" }

// OutputFlag adds --output to cmd and those below it.
func OutputFlag(cmd *cobra.Command, f *Format) {
	*f = Text
	cmd.PersistentFlags().Var(f, "output", "how to print: text or json (one document; an error is an object on stderr)")
}

// Emit prints v as one JSON document, or what text makes of it.
func Emit(stdout io.Writer, f Format, v any, text func(w io.Writer)) error {
	var b bytes.Buffer
	if f == JSON {
		body, err := Document(v)
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

// Document is v as indented JSON in which a terminal finds nothing to obey.
func Document(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("encoding the answer: %w", err)
	}
	return PlainJSON(b.String()), nil
}

// PlainJSON escapes what encoding/json leaves as it is and a terminal would obey: DEL, C1,
// direction marks.
func PlainJSON(text string) []byte {
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
