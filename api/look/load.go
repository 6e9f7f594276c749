package look

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The files of a directory with replacements, and their largest sizes in bytes.
const (
	brandFile = "brand.yaml"
	maxBrand  = 64 << 10
	maxLogo   = 256 << 10
	maxText   = 500
)

// brand is the content of brand.yaml. A member that is missing keeps its default.
type brand struct {
	Name       string `yaml:"name"`
	Language   string `yaml:"language"`
	SupportURL string `yaml:"support_url"`
	Logo       string `yaml:"logo"`
	LogoDark   string `yaml:"logo_dark"`
	Colors     struct {
		Accent     brandShades `yaml:"accent"`
		Background brandShades `yaml:"background"`
	} `yaml:"colors"`
	Texts map[string]string `yaml:"texts"`
}

type brandShades struct {
	Light string `yaml:"light"`
	Dark  string `yaml:"dark"`
}

// Load returns the look with the replacements of a directory. If dir is empty, it is [Default]. An error names the file
// and the key that is wrong.
func Load(dir string) (*Look, error) {
	if dir == "" {
		return Default(), nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of the pages: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	l, err := load(root.FS())
	if err != nil {
		return nil, fmt.Errorf("reading the pages in %s: %w", dir, err)
	}
	return l, nil
}

func load(dir fs.FS) (*Look, error) {
	l := Default()
	var b brand
	text, err := read(dir, brandFile, maxBrand)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		decoder := yaml.NewDecoder(bytes.NewReader(text))
		decoder.KnownFields(true)
		if err := decoder.Decode(&b); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: %w", brandFile, err)
		}
	}
	for _, set := range []func(brand) error{l.setNames, l.setBrandColors, l.setTexts} {
		if err := set(b); err != nil {
			return nil, fmt.Errorf("%s: %w", brandFile, err)
		}
	}
	return l, l.setLogos(dir, b)
}

var languageTag = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$`)

func (l *Look) setNames(b brand) error {
	if b.Name != "" {
		if err := checkText(b.Name, 60); err != nil {
			return fmt.Errorf("name: %w", err)
		}
		l.Name = b.Name
	}
	if b.Language != "" {
		if !languageTag.MatchString(b.Language) {
			return fmt.Errorf("language: %q is not a language tag; write one such as de or pt-BR", b.Language)
		}
		l.Language = b.Language
	}
	if b.SupportURL != "" {
		u, err := url.Parse(b.SupportURL)
		web := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
		address := false
		if err == nil && u.Scheme == "mailto" {
			_, err := mail.ParseAddress(u.Opaque)
			address = err == nil
		}
		if !web && !address {
			return fmt.Errorf("support_url: %q is not an https, http or mailto URL", b.SupportURL)
		}
		l.SupportURL = b.SupportURL
	}
	return nil
}

func (l *Look) setBrandColors(b brand) error {
	c := defaultColors
	for _, x := range []struct {
		key, given, card string
		to               *string
	}{
		{"colors.accent.light", b.Colors.Accent.Light, lightCard, &c.Accent.Light},
		{"colors.accent.dark", b.Colors.Accent.Dark, darkCard, &c.Accent.Dark},
		{"colors.background.light", b.Colors.Background.Light, "", &c.Background.Light},
		{"colors.background.dark", b.Colors.Background.Dark, "", &c.Background.Dark},
	} {
		if x.given == "" {
			continue
		}
		if err := checkColor(x.key, x.given, x.card); err != nil {
			return err
		}
		*x.to = x.given
	}
	l.setColors(c)
	return nil
}

var placeholder = regexp.MustCompile(`\{[^{}]*\}`)

// refusalText is the key of a text that pages about refusals have by code.
var refusalText = regexp.MustCompile(`^error\.[a-z_]+\.(title|text)$`)

func (l *Look) setTexts(b brand) error {
	l.texts = maps.Clone(defaultTexts)
	for _, key := range slices.Sorted(maps.Keys(b.Texts)) {
		text := b.Texts[key]
		byDefault, known := defaultTexts[key]
		if !known && !refusalText.MatchString(key) && !strings.HasPrefix(key, "scope.") && !strings.HasPrefix(key, "provider.") {
			return fmt.Errorf("texts: no text has the key %q; docs/pages.md has the list", key)
		}
		if err := checkText(text, maxText); err != nil {
			return fmt.Errorf("texts.%s: %w", key, err)
		}
		for _, name := range placeholder.FindAllString(text, -1) {
			if !strings.Contains(byDefault, name) {
				return fmt.Errorf("texts.%s: the text has no placeholder %s", key, name)
			}
		}
		l.texts[key] = text
	}
	return nil
}

// checkText returns an error for a text that a page cannot show in a line or a paragraph.
func checkText(text string, most int) error {
	switch {
	case strings.TrimSpace(text) == "":
		return errors.New("the text is empty; remove the key to keep the default")
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return errors.New("the text has a control character or is not UTF-8")
	case utf8.RuneCountInString(text) > most:
		return fmt.Errorf("the text is longer than %d characters", most)
	}
	return nil
}

// setLogos reads the named logos. Without names, logo.svg or logo.png are used if they exist.
func (l *Look) setLogos(dir fs.FS, b brand) error {
	l.Logos = map[string]Image{}
	if b.Logo == "" {
		for _, name := range []string{"logo.svg", "logo.png"} {
			if _, err := fs.Stat(dir, name); err == nil {
				b.Logo = name
				break
			}
		}
	}
	if b.LogoDark != "" && b.Logo == "" {
		return errors.New(brandFile + ": logo_dark needs a logo for light pages also; add logo")
	}
	for _, x := range []struct{ key, name, path string }{{"logo", b.Logo, LogoPath}, {"logo_dark", b.LogoDark, DarkLogoPath}} {
		if x.name == "" {
			continue
		}
		image, err := readLogo(dir, x.name)
		if err != nil {
			return fmt.Errorf("%s: %w", x.key, err)
		}
		l.Logos[x.path] = image
	}
	return nil
}

func readLogo(dir fs.FS, name string) (Image, error) {
	if !fs.ValidPath(name) || strings.Contains(name, "/") {
		return Image{}, fmt.Errorf("%q is not the name of a file in the directory", name)
	}
	body, err := read(dir, name, maxLogo)
	if err != nil {
		return Image{}, err
	}
	switch filepath.Ext(name) {
	case ".svg":
		if !bytes.Contains(body, []byte("<svg")) || !utf8.Valid(body) {
			return Image{}, fmt.Errorf("%s is not an SVG image", name)
		}
		return Image{"image/svg+xml", body}, nil
	case ".png":
		if !bytes.HasPrefix(body, []byte("\x89PNG\r\n\x1a\n")) {
			return Image{}, fmt.Errorf("%s is not a PNG image", name)
		}
		return Image{"image/png", body}, nil
	}
	return Image{}, fmt.Errorf("%s: a logo is a file .svg or .png", name)
}

func read(dir fs.FS, name string, most int64) ([]byte, error) {
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", name, err)
	case int64(len(body)) > most:
		return nil, fmt.Errorf("%s is larger than %d KiB", name, most>>10)
	}
	return body, nil
}
