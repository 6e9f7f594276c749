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

// String implements [pflag.Value].
func (f *Format) String() string { return string(*f) }

// Set implements [pflag.Value]: it accepts text or json.
func (f *Format) Set(text string) error {
	switch Format(text) {
	case Text, JSON:
		*f = Format(text)
		return nil
	}
	return errors.New("want text or json")
}

// Type implements [pflag.Value]: it is the name of the value in the help.
func (f *Format) Type() string { return "text|json" }

// OutputFlag adds --output to cmd and its subcommands, and sets f to [Text].
func OutputFlag(cmd *cobra.Command, f *Format) {
	*f = Text
	cmd.PersistentFlags().Var(f, "output", "how to print: text or json (one document; an error is an object on stderr)")
}

// Emit prints v as one JSON document, or what text writes. Nothing is printed if v cannot be encoded.
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

// Document returns v as indented JSON without characters that control a terminal.
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

// PlainJSON escapes the characters that control a terminal and that encoding/json does not escape: DEL,
// C1 controls and direction marks.
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
