package customclaims

import (
	"fmt"

	"cel.dev/cel-go/common/ast"
)

const (
	// maxLoops is how many loops an expression may have: map, filter, all, exists,
	// exists_one, sortBy and the like are one each.
	maxLoops = 8
	// maxNested is how many of them may run one in another.
	maxNested = 4
	// maxLiteral is how many elements or entries a list or map may be written with.
	maxLiteral = 256
)

// shape is what an expression has of these; each loop can multiply what those before it made.
type shape struct{ loops, nested, literal int }

// shapeOf measures a checked expression, with its macros expanded.
func shapeOf(e ast.Expr) shape {
	s := shape{}
	s.walk(e, 0)
	return s
}

// unfit says what is too much; "" when nothing is.
func (s shape) unfit() string {
	switch {
	case s.loops > maxLoops:
		return fmt.Sprintf("the expression has %d loops (map, filter, all, …), more than %d", s.loops, maxLoops)
	case s.nested > maxNested:
		return fmt.Sprintf("the expression nests %d loops (map, filter, all, …), more than %d", s.nested, maxNested)
	case s.literal > maxLiteral:
		return fmt.Sprintf("the expression has a list or map of %d elements, more than %d", s.literal, maxLiteral)
	default:
		return ""
	}
}

// walk goes over e, which is in so many loops.
func (s *shape) walk(e ast.Expr, in int) {
	switch e.Kind() {
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			s.walk(call.Target(), in)
		}
		s.all(call.Args(), in)
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		s.loops++
		s.nested = max(s.nested, in+1)
		s.all([]ast.Expr{loop.IterRange(), loop.AccuInit(), loop.Result()}, in)
		s.all([]ast.Expr{loop.LoopCondition(), loop.LoopStep()}, in+1)
	case ast.ListKind:
		elements := e.AsList().Elements()
		s.literal = max(s.literal, len(elements))
		s.all(elements, in)
	case ast.MapKind:
		entries := e.AsMap().Entries()
		s.literal = max(s.literal, len(entries))
		for _, entry := range entries {
			s.walk(entry.AsMapEntry().Key(), in)
			s.walk(entry.AsMapEntry().Value(), in)
		}
	case ast.SelectKind:
		s.walk(e.AsSelect().Operand(), in)
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			s.walk(field.AsStructField().Value(), in)
		}
	case ast.IdentKind, ast.LiteralKind, ast.UnspecifiedExprKind:
	}
}

func (s *shape) all(list []ast.Expr, in int) {
	for _, e := range list {
		s.walk(e, in)
	}
}
