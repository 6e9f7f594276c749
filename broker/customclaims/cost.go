package customclaims

import (
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// deepFunctions visit all values inside their arguments, in one step that neither the cost limit nor
// the context can interrupt. A list may contain another one many times, so that a value that is small
// in memory takes extremely long to visit. So the work of each call is estimated first.
var deepFunctions = map[string]func(args []ref.Val) uint64{
	operators.Equals: compareWork, operators.NotEquals: compareWork, operators.In: memberWork,
	"sort": walkWork, "@sortByAssociatedKeys": walkWork, "flatten": walkWork,
	"distinct":      distinctWork,
	"sets.contains": pairsWork, "sets.equivalent": pairsWork, "sets.intersects": pairsWork,
	"hasOnly": pairsWork, "hasAny": pairsWork, "hasAll": pairsWork, "hasExactly": pairsWork,
}

// limitWork estimates the work before each call of a deep function in the expression. A call that
// exceeds the cost limit by itself fails with [ErrCost] and is not run.
func (c *compiler) limitWork(checked *ast.AST) interpreter.InterpretableDecoratorV2 {
	return func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok {
			return i, nil
		}
		work, deep := deepFunctions[call.Function()]
		if !deep || comparesScalar(checked, call) {
			return i, nil
		}
		run, err := c.implementation(call.Function(), call.OverloadID())
		if err != nil {
			return nil, err
		}
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
			if work(args) > costLimit {
				return types.WrapErr(ErrCost)
			}
			return run(args...)
		}), nil
	}
}

// comparesScalar reports whether a comparison, or a search in a list, is for a scalar value, for which
// CEL's own cost is right. Nearly all expressions compare scalars.
func comparesScalar(checked *ast.AST, call interpreter.InterpretableCall) bool {
	args := call.Args()
	switch call.Function() {
	case operators.Equals, operators.NotEquals:
		return scalarType(checked.GetType(args[0].ID())) || scalarType(checked.GetType(args[1].ID()))
	case operators.In:
		return scalarType(checked.GetType(args[0].ID()))
	default:
		return false
	}
}

func scalarType(t *cel.Type) bool {
	switch t.Kind() {
	case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.StringKind, types.BytesKind,
		types.TimestampKind, types.DurationKind, types.NullTypeKind:
		return true
	default:
		return false
	}
}

// implementation returns the function that CEL would run for the call.
func (c *compiler) implementation(function, overload string) (functions.FunctionOp, error) {
	switch function { // CEL runs these without a binding
	case operators.Equals:
		return func(args ...ref.Val) ref.Val { return types.Equal(args[0], args[1]) }, nil
	case operators.NotEquals:
		return func(args ...ref.Val) ref.Val {
			equal, ok := types.Equal(args[0], args[1]).(types.Bool)
			if !ok {
				return types.MaybeNoSuchOverloadErr(args[0])
			}
			return !equal
		}, nil
	}
	bindings, err := c.env.Functions()[function].Bindings()
	if err != nil {
		return nil, fmt.Errorf("reading the bindings of %s: %w", function, err)
	}
	var found *functions.Overload
	for _, b := range bindings {
		if b.Operator == overload || found == nil && b.Operator == function {
			found = b
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no binding of %s for %q", function, overload)
	}
	return func(args ...ref.Val) ref.Val {
		switch {
		case len(args) == 1 && found.Unary != nil:
			return found.Unary(args[0])
		case len(args) == 2 && found.Binary != nil:
			return found.Binary(args[0], args[1])
		case found.Function != nil:
			return found.Function(args...)
		default:
			return types.MaybeNoSuchOverloadErr(args[0])
		}
	}, nil
}

func walkWork(args []ref.Val) uint64 {
	total := uint64(0)
	for _, arg := range args {
		total += weight(arg)
	}
	return total
}

func compareWork(args []ref.Val) uint64 {
	if scalar(args[0]) || scalar(args[1]) {
		return 0
	}
	return min(weight(args[0]), weight(args[1]))
}

func memberWork(args []ref.Val) uint64 {
	if scalar(args[0]) {
		return 0
	}
	return weight(args[1])
}

func distinctWork(args []ref.Val) uint64 { return length(args[0]) * weight(args[0]) }

// pairsWork is the work of functions that compare each element of one list with each of the other.
func pairsWork(args []ref.Val) uint64 {
	return max(length(args[0])*weight(args[1]), length(args[1])*weight(args[0]))
}

// length returns the length of a list, at most what weight would return.
func length(v ref.Val) uint64 {
	list, ok := v.(traits.Lister)
	if !ok {
		return 1
	}
	size, ok := list.Size().(types.Int)
	if !ok || size < 0 {
		return costLimit + 1
	}
	return min(uint64(size), costLimit+1)
}

func scalar(v ref.Val) bool {
	switch v.(type) {
	case types.Bool, types.Int, types.Uint, types.Double, types.String, types.Bytes, types.Null,
		types.Timestamp, types.Duration, *types.Type, *types.Err, *types.Unknown:
		return true
	default:
		return false
	}
}

// weight counts a value and all values inside it, each as often as it occurs, and ten bytes of text
// as one value. It stops beyond the cost limit. A whole variable exceeds the limit.
func weight(v ref.Val) uint64 {
	left := int64(costLimit)
	addWeight(v, &left, 0)
	if left < 0 {
		return costLimit + 1
	}
	return uint64(costLimit - left)
}

func addWeight(v ref.Val, left *int64, depth int) {
	*left--
	if depth > maxWeightDepth {
		*left = -1
	}
	switch v := v.(type) {
	case types.String:
		*left -= int64(len(v)) / 10
	case types.Bytes:
		*left -= int64(len(v)) / 10
	case traits.Mapper:
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			key := it.Next()
			addWeight(key, left, depth+1)
			addWeight(v.Get(key), left, depth+1)
		}
	case traits.Lister:
		for it := v.Iterator(); *left >= 0 && it.HasNext() == types.True; {
			addWeight(it.Next(), left, depth+1)
		}
	default:
		if !scalar(v) {
			*left = -1
		}
	}
}

// maxWeightDepth is how deep values may nest for weight.
const maxWeightDepth = 1000

// callCosts charges for work that CEL's own costs ignore: text by its length, joined lists by their
// length, and the deep functions by all values that they visit.
type callCosts struct{}

// CallCost implements cost.ActualCostEstimator. If it returns nil, CEL's own cost applies.
func (callCosts) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
	switch function {
	case operators.Add:
		return addCost(args, result)
	case "matches":
		return matchCost(args)
	case "charAt", "indexOf", "lastIndexOf", "lowerAscii", "upperAscii", "reverse", "split", "substring", "trim", "join", "replace":
		total := 1 + size(result)
		for _, value := range args {
			total += size(value)
		}
		return &total
	case operators.Equals, operators.NotEquals, operators.In,
		"flatten", "sets.contains", "sets.equivalent", "sets.intersects", "hasOnly", "hasAny", "hasAll", "hasExactly":
		if work := deepFunctions[function](args); work > 0 {
			total := 1 + work
			return &total
		}
	}
	return nil
}

// longText is the length in bytes from which a result of + costs more than in CEL.
const longText = 1 << 10

// addCost is the length of the result, with four bytes of text as one, so that repeated doubling
// becomes expensive. A loop that adds to its own result pays only for what it adds.
func addCost(args []ref.Val, result ref.Val) *uint64 {
	total := uint64(1)
	switch result := result.(type) {
	case types.String:
		if len(result) < longText {
			return nil
		}
		total += uint64(len(result)) / 4
	case traits.MutableLister:
		total += size(args[1])
	case traits.Lister:
		total += length(result)
	default:
		return nil
	}
	return &total
}

// matchCost is CEL's own cost, text times pattern, but at least one for each two bytes of text: a
// short pattern can compile to a large program.
func matchCost(args []ref.Val) *uint64 {
	text, isText := args[0].(types.String)
	pattern, isPattern := args[1].(types.String)
	if !isText || !isPattern {
		return nil
	}
	total := 1 + max(uint64(len(text))/2, uint64(len(text)/10+1)*uint64(len(pattern)/4+1))
	return &total
}

// size returns the size of a value, with eight bytes of text as one.
func size(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v)) / 8
	case traits.Lister:
		return length(v)
	default:
		return 0
	}
}
