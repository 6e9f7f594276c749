package customclaims

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// goValue converts a result to a value for encoding/json.
func goValue(v ref.Val) (any, error) {
	left := maxEncoded
	return converter{left: &left}.convert(v, 0)
}

// converter counts down the rest of the 8 KiB, by at least a byte for each value, so that the
// conversion stops at a result that is too large to be sent.
type converter struct{ left *int }

// maxDepth is how deep a result may nest.
const maxDepth = 32

func (c converter) take(n int) error {
	if *c.left -= n + 1; *c.left < 0 {
		return ErrTooLarge
	}
	return nil
}

func (c converter) convert(v ref.Val, depth int) (any, error) {
	size := 0
	if text, ok := v.(types.String); ok {
		size = len(text)
	}
	if err := c.take(size); err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%w: it nests too deeply", ErrNotJSON)
	}
	switch v := v.(type) {
	case types.Null:
		return nil, nil
	case types.Bool:
		return bool(v), nil
	case types.Int:
		return int64(v), nil
	case types.Uint:
		return uint64(v), nil
	case types.Double:
		return double(float64(v))
	case types.String:
		return string(v), nil
	case types.Timestamp:
		return v.UTC().Format(time.RFC3339Nano), nil
	case traits.Mapper:
		return c.mapping(v, depth)
	case traits.Lister:
		return c.list(v, depth)
	default:
		return nil, fmt.Errorf("%w: a value of type %s", ErrNotJSON, v.Type().TypeName())
	}
}

func (c converter) list(v traits.Lister, depth int) (any, error) {
	list := []any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		element, err := c.convert(it.Next(), depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, element)
	}
	return list, nil
}

func (c converter) mapping(v traits.Mapper, depth int) (any, error) {
	object := map[string]any{}
	for it := v.Iterator(); it.HasNext() == types.True; {
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("%w: a map key of type %s", ErrNotJSON, key.Type().TypeName())
		}
		if err := c.take(len(name)); err != nil {
			return nil, err
		}
		value, err := c.convert(v.Get(key), depth+1)
		if err != nil {
			return nil, err
		}
		object[string(name)] = value
	}
	return object, nil
}

// double returns f as JSON prints it: without a fraction if it is whole, and never as -0.
func double(f float64) (any, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%w: a number that is infinite or not a number", ErrNotJSON)
	}
	return f + 0, nil
}

// attributeClaim converts an attribute to a claim.
func attributeClaim(v any) (any, error) { return mapNumbers(v, exact) }

// doubles converts attributes for expressions, in which each number is a double.
func doubles(attributes map[string]any) (map[string]any, error) {
	v, err := mapNumbers(attributes, func(n json.Number) (any, error) {
		f, err := n.Float64()
		if err != nil {
			return nil, ErrNotJSON
		}
		return f, nil
	})
	if err != nil {
		return nil, err
	}
	out, _ := v.(map[string]any)
	return out, nil
}

// exact converts a number without loss for integers, also beyond 2^53.
func exact(n json.Number) (any, error) {
	if i, err := n.Int64(); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, ErrNotJSON
	}
	return double(f)
}

// mapNumbers returns v with its numbers converted by number, or v itself if there are none.
func mapNumbers(v any, number func(json.Number) (any, error)) (any, error) {
	if isPlain(v) {
		return v, nil
	}
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = mapNumbers(v[i], number); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for name := range v {
			var err error
			if out[name], err = mapNumbers(v[name], number); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return roundTrip(v, number)
	}
}

// isPlain reports whether v consists only of types that encoding/json decodes into any.
func isPlain(v any) bool {
	switch v := v.(type) {
	case nil, bool, string, float64:
		return true
	case []any:
		for i := range v {
			if !isPlain(v[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		for name := range v {
			if !isPlain(v[name]) {
				return false
			}
		}
		return true
	default:
		return false
	}
}

// roundTrip converts any other Go value through JSON.
func roundTrip(v any, number func(json.Number) (any, error)) (any, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return nil, ErrNotJSON
	}
	var out any
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		return nil, ErrNotJSON
	}
	return mapNumbers(out, number)
}
