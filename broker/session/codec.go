package session

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"tokenbroker/internal/plainjson"
)

// The stored form of a record is the JSON that encoding/json makes of its struct. The json tags
// of the struct are the only description of that form.

// ErrRecord is a stored record that cannot be read. Callers fail closed.
var ErrRecord = errors.New("session: unreadable record")

// Encode returns the record as it is stored.
func (s *Session) Encode() ([]byte, error) { return json.Marshal(s) }

// Encode returns the record as it is stored.
func (u *User) Encode() ([]byte, error) { return json.Marshal(u) }

// DecodeSession reads a stored session. The error is [ErrRecord] if the record is damaged or
// has another version.
func DecodeSession(data []byte) (*Session, error) {
	s := new(Session)
	if decodePlain(data, s, sessionFields) && s.V == recordVersion {
		return s, nil
	}
	s = new(Session)
	if err := decode(data, s, &s.V); err != nil {
		return nil, fmt.Errorf("decoding session: %w", err)
	}
	return s, nil
}

// DecodeUser reads a stored user. The error is [ErrRecord] if the record is damaged or has
// another version.
func DecodeUser(data []byte) (*User, error) {
	u := new(User)
	if decodePlain(data, u, userFields) && u.V == recordVersion {
		return u, nil
	}
	u = new(User)
	if err := decode(data, u, &u.V); err != nil {
		return nil, fmt.Errorf("decoding user: %w", err)
	}
	return u, nil
}

func decode(data []byte, into any, version *int) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // numbers in attributes keep their exact value
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: data after the end of the record", ErrRecord)
	}
	if *version != recordVersion {
		return fmt.Errorf("%w: version %d", ErrRecord, *version)
	}
	return nil
}

// The names of the members, by the index of the field.
var (
	sessionFields = fieldNames[Session]()
	userFields    = fieldNames[User]()
	accountFields = fieldNames[Account]()
	consentFields = fieldNames[Consent]()
)

func fieldNames[T any]() []string {
	fields := reflect.VisibleFields(reflect.TypeFor[T]())
	names := make([]string, len(fields))
	for i, field := range fields {
		names[i], _, _ = strings.Cut(field.Tag.Get("json"), ",")
	}
	return names
}

// decodePlain reads a record of the form in which Encode writes nearly all: plain JSON whose
// members are in the order of the fields. For any other form, ok is false, the record is
// not to be used, and encoding/json has to read data.
func decodePlain(data []byte, record any, names []string) (ok bool) {
	r := plainjson.NewReader(string(data))
	readFields(&r, reflect.ValueOf(record).Elem(), names)
	return r.Done()
}

// readFields reads an object. If it has a member of any other type, such as ended, r fails.
func readFields(r *plainjson.Reader, record reflect.Value, names []string) {
	r.Object()
	for i, name := range names {
		if !r.Field(name) {
			continue
		}
		switch p := record.Field(i).Addr().Interface().(type) {
		case *string:
			*p = r.String()
		case *Channel:
			*p = Channel(r.String())
		case *int:
			*p = int(r.Uint64(31))
		case *int64:
			*p = r.Int64()
		case *uint32:
			*p = uint32(r.Uint64(32))
		case *bool:
			*p = r.Bool()
		case *[]byte:
			*p = readBytes(r)
		case *[]string:
			*p = readList(r, (*plainjson.Reader).String)
		case *[]int64:
			*p = readList(r, (*plainjson.Reader).Int64)
		case *[]Account:
			*p = readList(r, readObject[Account](accountFields))
		case *[]Consent:
			*p = readList(r, readObject[Consent](consentFields))
		case *map[string]any:
			*p = r.Map()
		default:
			r.Fail()
		}
	}
	r.End()
}

func readBytes(r *plainjson.Reader) []byte {
	data, err := base64.StdEncoding.DecodeString(r.String())
	if err != nil {
		r.Fail()
	}
	return data
}

func readList[T any](r *plainjson.Reader, element func(*plainjson.Reader) T) []T {
	list := make([]T, 0, keptRotations) // the longest of the usual lists
	for r.Array(); r.More(); {
		list = append(list, element(r))
	}
	return list
}

func readObject[T any](names []string) func(*plainjson.Reader) T {
	return func(r *plainjson.Reader) (v T) {
		readFields(r, reflect.ValueOf(&v).Elem(), names)
		return v
	}
}
