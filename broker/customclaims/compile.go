package customclaims

import (
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

const (
	// maxExpression is the longest expression, in bytes.
	maxExpression = 4 << 10
	// costLimit bounds one evaluation to a few milliseconds. It is in CEL's units, about one for
	// each call and each step of a loop.
	costLimit = 20_000
	// maxTime ends an evaluation that is within the other limits but runs on a busy machine.
	maxTime = 250 * time.Millisecond
	// interruptEvery is the number of loop steps between checks of the context.
	interruptEvery = 64
	// maxRegex is the largest number of instructions of a regular expression. Each instruction may
	// be tried at each byte of a text. [a-z]{1,63} has about 130.
	maxRegex = 150
	// maxErrors is how many errors of one expression are reported.
	maxErrors = 3
)

// computed is a compiled expression.
type computed struct {
	name    string
	ast     *cel.Ast
	program cel.Program
	loops   bool // whether the expression has a loop
}

type compiler struct {
	env   *cel.Env
	costs cost.ActualCostEstimator
}

func newCompiler() (*compiler, error) {
	texts, err := textFunctions()
	if err != nil {
		return nil, err
	}
	env, err := cel.NewEnv(
		cel.Types(
			cel.NativeTypeFor[userVars](ext.ParseStructTag("cel"), types.NativeTypeAlias("tokenbroker.User")),
			cel.NativeTypeFor[identityVars](ext.ParseStructTag("cel"), types.NativeTypeAlias("tokenbroker.Identity")),
			cel.NativeTypeFor[clientVars](ext.ParseStructTag("cel"), types.NativeTypeAlias("tokenbroker.Client")),
			cel.NativeTypeFor[sessionVars](ext.ParseStructTag("cel"), types.NativeTypeAlias("tokenbroker.Session")),
		),
		cel.Variable("user", cel.ObjectType("tokenbroker.User")),
		cel.Variable("identity", cel.ObjectType("tokenbroker.Identity")),
		cel.Variable("client", cel.ObjectType("tokenbroker.Client")),
		cel.Variable("session", cel.ObjectType("tokenbroker.Session")),
		texts, ext.Sets(), ext.Lists(ext.ListsMaxRangeSize(1000)),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(100), cel.ParserExpressionSizeLimit(maxExpression),
		cel.ExpressionNodeLimit(4*maxExpression), cel.RegexProgramSizeLimit(maxRegex),
	)
	if err != nil {
		return nil, err
	}
	return &compiler{env: env, costs: callCosts{}}, nil
}

// compile compiles the expression of the claim name.
func (c *compiler) compile(name, expression string) (computed, Problems) {
	key := computedKey(name)
	if expression == "" || len(expression) > maxExpression {
		return computed{}, Problems{{Key: key, Message: "the expression is empty or longer than 4 KiB", Hint: "a CEL expression, as user.attributes.email"}}
	}
	ast, issues := c.env.Compile(expression)
	if issues.Err() != nil {
		var problems Problems
		for _, e := range issues.Errors()[:min(len(issues.Errors()), maxErrors)] {
			problems = append(problems, Problem{
				Key: key, Message: position(e.Location) + e.Message,
				Hint: "variables: user, identity, client, session; see docs/operate.md",
			})
		}
		return computed{}, problems
	}
	complexity := complexityOf(ast.NativeRep().Expr())
	if problem := complexity.problem(); problem != "" {
		return computed{}, Problems{{Key: key, Message: problem, Hint: "make it smaller: each sign-in and refresh computes it"}}
	}
	if problem := notJSONType(ast.OutputType()); problem != "" {
		return computed{}, Problems{{Key: key, Message: "the result is " + problem + ", which cannot be a claim", Hint: jsonTypeHint}}
	}
	program, err := c.env.Program(ast,
		cel.EvalOptions(cel.OptOptimize), cel.CostTracking(c.costs), cel.CostLimit(costLimit),
		cel.InterruptCheckFrequency(interruptEvery), cel.CustomDecoratorV2(c.limitWork(ast.NativeRep())))
	if err != nil {
		return computed{}, Problems{{Key: key, Message: err.Error(), Hint: "check the expression's constants"}}
	}
	return computed{name: name, ast: ast, program: program, loops: complexity.loops > 0}, nil
}

// position returns a location in an expression as the start of a message, "" if it is unknown.
func position(at common.Location) string {
	if at.Line() < 1 {
		return ""
	}
	return fmt.Sprintf("line %d, column %d: ", at.Line(), at.Column()+1)
}

const jsonTypeHint = "a claim is text, a number, true or false, a timestamp, a list, or a map with text keys"

// notJSONType describes what in a result's type can never be JSON, as far as the type is known before
// the evaluation. It returns "" if there is nothing.
func notJSONType(t *cel.Type) string {
	switch t.Kind() {
	case types.DynKind, types.AnyKind, types.NullTypeKind, types.BoolKind, types.IntKind, types.UintKind,
		types.DoubleKind, types.StringKind, types.TimestampKind, types.TypeParamKind:
		return ""
	case types.ListKind:
		return notJSONType(t.Parameters()[0])
	case types.MapKind:
		switch key := t.Parameters()[0].Kind(); key {
		case types.StringKind, types.DynKind, types.TypeParamKind:
			return notJSONType(t.Parameters()[1])
		default:
			return "a map whose keys are not text"
		}
	default:
		return "of type " + t.String()
	}
}

const (
	// maxLoops is the largest number of loops in an expression. Each map, filter, all, exists,
	// exists_one, sortBy and so on is a loop.
	maxLoops = 8
	// maxNested is how deep loops may nest.
	maxNested = 4
	// maxLiteral is the largest number of elements or entries in a literal list or map.
	maxLiteral = 256
)

// complexity has the numbers of an expression for these limits. Each loop can multiply the elements
// that the loops before it produced.
type complexity struct{ loops, nested, literal int }

// complexityOf measures a checked expression, with its macros expanded.
func complexityOf(e ast.Expr) complexity {
	c := complexity{}
	c.walk(e, 0)
	return c
}

// problem describes the limit that is exceeded, "" if none is.
func (c complexity) problem() string {
	switch {
	case c.loops > maxLoops:
		return fmt.Sprintf("the expression has %d loops (map, filter, all, …), more than %d", c.loops, maxLoops)
	case c.nested > maxNested:
		return fmt.Sprintf("the expression nests %d loops (map, filter, all, …), more than %d", c.nested, maxNested)
	case c.literal > maxLiteral:
		return fmt.Sprintf("the expression has a list or map of %d elements, more than %d", c.literal, maxLiteral)
	default:
		return ""
	}
}

// walk visits e, which is inside that many loops.
func (c *complexity) walk(e ast.Expr, in int) {
	switch e.Kind() {
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			c.walk(call.Target(), in)
		}
		c.all(call.Args(), in)
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		c.loops++
		c.nested = max(c.nested, in+1)
		c.all([]ast.Expr{loop.IterRange(), loop.AccuInit(), loop.Result()}, in)
		c.all([]ast.Expr{loop.LoopCondition(), loop.LoopStep()}, in+1)
	case ast.ListKind:
		elements := e.AsList().Elements()
		c.literal = max(c.literal, len(elements))
		c.all(elements, in)
	case ast.MapKind:
		entries := e.AsMap().Entries()
		c.literal = max(c.literal, len(entries))
		for _, entry := range entries {
			c.walk(entry.AsMapEntry().Key(), in)
			c.walk(entry.AsMapEntry().Value(), in)
		}
	case ast.SelectKind:
		c.walk(e.AsSelect().Operand(), in)
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			c.walk(field.AsStructField().Value(), in)
		}
	case ast.IdentKind, ast.LiteralKind, ast.UnspecifiedExprKind:
	}
}

func (c *complexity) all(list []ast.Expr, in int) {
	for _, e := range list {
		c.walk(e, in)
	}
}
