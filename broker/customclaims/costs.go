package customclaims

import (
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// costs charges for what CEL has for nothing or does not see: text by its length, lists that
// are joined by theirs, and the deep functions by all that they walk through.
type costs struct{}

// CallCost implements cost.ActualCostEstimator; nil leaves it to CEL.
func (costs) CallCost(function, _ string, args []ref.Val, result ref.Val) *uint64 {
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

// longText is from how many bytes on a text that + makes costs more than CEL takes for it.
const longText = 1 << 10

// addCost is the length of what comes out, four bytes of text as one, so that doubling does not
// stay cheap; a loop that adds to its own result pays for what it adds.
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

// matchCost is CEL's own, text by pattern, but at least one for each two bytes of text: a short
// pattern can be a large program.
func matchCost(args []ref.Val) *uint64 {
	text, isText := args[0].(types.String)
	pattern, isPattern := args[1].(types.String)
	if !isText || !isPattern {
		return nil
	}
	total := 1 + max(uint64(len(text))/2, uint64(len(text)/10+1)*uint64(len(pattern)/4+1))
	return &total
}

// size is a value's own, eight bytes of text as one.
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
