package customclaims

import (
	"errors"
	"regexp/syntax"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// MaxMeasured is the most steps that one evaluation may take: some ten milliseconds.
const MaxMeasured = 1_000_000

// Work counts the real steps of an evaluation by visiting the arguments of each call, independently of the
// costs that [callCosts] charges: a step for each call, each value visited, each eight bytes of text, and each ten
// attempts of a regular expression's instructions. It ends an evaluation that goes beyond MaxMeasured.
type Work struct {
	costs callCosts
	steps int
}

// NewMeasured returns a Set with the single claim c, and the Work of its evaluations.
func NewMeasured(expression string) (*Set, *Work, error) {
	c, err := newCompiler()
	if err != nil {
		return nil, nil, err
	}
	work := &Work{}
	c.costs = work
	one, problems := c.compile("c", expression)
	if err := problems.Err(); err != nil {
		return nil, nil, err
	}
	return &Set{computed: []computed{one}}, work, nil
}

// Steps returns how many steps the evaluations took; it stops counting soon after MaxMeasured.
func (w *Work) Steps() int { return w.steps }

// CallCost implements cost.ActualCostEstimator.
func (w *Work) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	w.steps++
	if failed, ok := result.(*types.Err); !ok || !errors.Is(failed, ErrCost) { // the guard did not run the call
		w.call(function, args, result)
	}
	if w.steps > MaxMeasured {
		beyond := uint64(costLimit + 1)
		return &beyond
	}
	return w.costs.CallCost(function, overload, args, result)
}

func (w *Work) call(function string, args []ref.Val, result ref.Val) {
	switch function {
	case operators.Equals, operators.NotEquals:
		w.equal(args[0], args[1])
	case operators.In:
		w.found(args[0], args[1])
	case "matches":
		w.match(args)
	case "sort", "@sortByAssociatedKeys", "flatten":
		for _, arg := range args {
			w.visit(arg)
		}
	case "distinct":
		w.pairs(args[0], args[0])
	case "sets.contains", "sets.intersects":
		w.pairs(args[1], args[0])
	case "sets.equivalent":
		w.pairs(args[0], args[1])
		w.pairs(args[1], args[0])
	default:
		w.text(result)
		for _, arg := range args {
			w.text(arg)
		}
	}
}

func (w *Work) text(v ref.Val) {
	if s, ok := v.(types.String); ok {
		w.steps += len(s) / 8
	}
}

func (w *Work) match(args []ref.Val) {
	text, isText := args[0].(types.String)
	pattern, isPattern := args[1].(types.String)
	if !isText || !isPattern {
		return
	}
	if parsed, err := syntax.Parse(string(pattern), syntax.Perl); err == nil {
		if prog, err := syntax.Compile(parsed.Simplify()); err == nil {
			w.steps += len(text) * len(prog.Inst) / 10
		}
	}
}

// visit visits all values inside v.
func (w *Work) visit(v ref.Val) {
	w.steps++
	w.text(v)
	switch v := v.(type) {
	case traits.Mapper:
		w.each(v, func(key ref.Val) bool { w.visit(v.Get(key)); return true })
	case traits.Lister:
		w.each(v, func(element ref.Val) bool { w.visit(element); return true })
	}
}

// each calls yield with each element of a list, or each key of a map, until it returns false.
func (w *Work) each(v traits.Iterable, yield func(ref.Val) bool) {
	for it := v.Iterator(); w.steps <= MaxMeasured && it.HasNext() == types.True; {
		if !yield(it.Next()) {
			return
		}
	}
}

// equal compares like CEL: element by element, to the first that differs.
func (w *Work) equal(a, b ref.Val) bool {
	w.steps++
	switch a := a.(type) {
	case traits.Mapper:
		other, ok := b.(traits.Mapper)
		if !ok || a.Size() != other.Size() {
			return false
		}
		same := true
		w.each(a, func(key ref.Val) bool {
			value, found := other.Find(key)
			same = found && w.equal(a.Get(key), value)
			return same
		})
		return same
	case traits.Lister:
		other, ok := b.(traits.Lister)
		if !ok || a.Size() != other.Size() {
			return false
		}
		same, others := true, other.Iterator()
		w.each(a, func(element ref.Val) bool { same = w.equal(element, others.Next()); return same })
		return same
	default:
		w.text(a)
		return types.Equal(a, b) == types.True
	}
}

// found searches a list for v.
func (w *Work) found(v, in ref.Val) {
	if list, ok := in.(traits.Lister); ok {
		w.each(list, func(element ref.Val) bool { return !w.equal(v, element) })
	}
}

// pairs searches the second list for each element of the first.
func (w *Work) pairs(of, in ref.Val) {
	if list, ok := of.(traits.Lister); ok {
		w.each(list, func(element ref.Val) bool { w.found(element, in); return true })
	}
}
