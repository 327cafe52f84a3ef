package fhir

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gofhir/fhirpath"
	"github.com/gofhir/fhirpath/eval"
	"github.com/gofhir/fhirpath/types"
)

// element is one result of an expression: JSON, and its FHIR type if the element's name
// gave it away ("Period" of effectivePeriod).
type element struct {
	json []byte
	typ  string
}

// program evaluates a search parameter's expression, clause by clause of the union. Most clauses are
// bare paths, which a walk over the JSON follows in a tenth of the time and
// without a detour through FHIRPath's date types, which would drop a date's
// precision; the rest goes to the FHIRPath engine. Programs are compiled on first use
// and safe for concurrent use.
type program struct {
	clauses func() ([]clause, error)
}

type clause interface {
	run(r *Resource, found []element) ([]element, error)
}

func newProgram(union []string) *program {
	return &program{clauses: sync.OnceValues(func() ([]clause, error) { return compile(union) })}
}

func (p *program) run(r *Resource) ([]element, error) {
	if p == nil {
		return nil, errors.New("a search parameter that is not from the registry")
	}
	clauses, err := p.clauses()
	if err != nil {
		return nil, err
	}
	var found []element
	for _, c := range clauses {
		if found, err = c.run(r, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func compile(union []string) ([]clause, error) {
	var clauses []clause
	for _, part := range union {
		if p, ok := compilePath(part); ok {
			clauses = append(clauses, p)
			continue
		}
		compiled, err := fhirpath.Compile(part)
		if err != nil {
			return nil, fmt.Errorf("compile %q: %w", part, err)
		}
		clauses = append(clauses, engine{compiled})
	}
	return clauses, nil
}

// path is a clause of the form Type.a.b, one of (Type.a.b as T) and Type.a.b.as(T), or
// Type.a.b.where(resolve() is T).
type path struct {
	names    []string
	as       string // the type of the choice, "" for any
	resolves string // the type that the reference must point to, "" for any
}

func compilePath(expression string) (path, bool) {
	var p path
	if inner, ok := strings.CutPrefix(expression, "("); ok {
		if expression, ok = strings.CutSuffix(inner, ")"); !ok {
			return path{}, false
		}
	}
	if before, typ, ok := strings.Cut(expression, " as "); ok {
		expression, p.as = before, typ
	} else if before, typ, ok := strings.Cut(expression, ".as("); ok {
		if p.as, ok = strings.CutSuffix(typ, ")"); !ok {
			return path{}, false
		}
		expression = before
	} else if before, typ, ok := strings.Cut(expression, ".where(resolve() is "); ok {
		if p.resolves, ok = strings.CutSuffix(typ, ")"); !ok {
			return path{}, false
		}
		expression = before
	}
	names := strings.Split(expression, ".")
	word := func(s string) bool {
		return s != "" && !strings.ContainsFunc(s, func(c rune) bool { return c > 'z' || !alphanumeric(byte(c)) })
	}
	if len(names) < 2 || slices.ContainsFunc(names, func(s string) bool { return !word(s) }) {
		return path{}, false
	}
	if p.as != "" && !word(p.as) || p.resolves != "" && !word(p.resolves) {
		return path{}, false
	}
	p.names = names[1:]
	return p, true
}

func (p path) run(r *Resource, found []element) ([]element, error) {
	return p.follow(r.json, p.names, found), nil
}

func (p path) follow(object []byte, names []string, found []element) []element {
	last := len(names) == 1
	value, typ := choice(object, names[0])
	for item := range items(value) {
		switch {
		case !last:
			found = p.follow(item, names[1:], found)
		case p.as != "" && !isA(typ, p.as):
		case p.resolves != "" && refType(textAt(item, "reference")) != p.resolves:
		case item[0] == 'n': // null beside an extension
		default:
			found = append(found, element{item, typ})
		}
	}
	return found
}

// choice finds an element by name, or one of the form name[x] together with its type.
func choice(object []byte, name string) (value []byte, typ string) {
	for n, v := range members(object) {
		suffix, ok := bytes.CutPrefix(n, []byte(name))
		if !ok {
			continue
		}
		if len(suffix) == 0 {
			return v, ""
		}
		if value == nil && choiceType(string(suffix)) {
			value, typ = v, string(suffix)
		}
	}
	return value, typ
}

// choiceType says whether s is a data type as the name of a choice element ends with it.
func choiceType(s string) bool {
	switch s {
	case "Base64Binary", "Boolean", "Canonical", "Code", "Date", "DateTime", "Decimal", "Id", "Instant", "Integer",
		"Markdown", "Oid", "PositiveInt", "String", "Time", "UnsignedInt", "Uri", "Url", "Uuid",
		"Address", "Age", "Annotation", "Attachment", "CodeableConcept", "Coding", "ContactDetail", "ContactPoint",
		"Contributor", "Count", "DataRequirement", "Distance", "Dosage", "Duration", "Expression", "HumanName",
		"Identifier", "Meta", "Money", "ParameterDefinition", "Period", "Quantity", "Range", "Ratio", "Reference",
		"RelatedArtifact", "SampledData", "Signature", "Timing", "TriggerDefinition", "UsageContext":
		return true
	}
	return false
}

// isA says whether a choice's type is the wanted one or a kind of it.
func isA(typ, want string) bool {
	if strings.EqualFold(typ, want) {
		return true
	}
	return want == "Quantity" && slices.Contains([]string{"Age", "Count", "Distance", "Duration"}, typ)
}

// refType is the type that a literal reference points to, relative or absolute, as far
// as its text tells; "" otherwise.
func refType(reference string) string {
	reference, _, _ = strings.Cut(reference, "/_history/")
	parts := strings.Split(reference, "/")
	if n := len(parts); n >= 2 && KnownType(parts[n-2]) {
		return parts[n-2]
	}
	return ""
}

// engine is a clause that the FHIRPath engine evaluates. None of them resolves references;
// those are paths.
type engine struct{ compiled *fhirpath.Expression }

func (e engine) run(r *Resource, found []element) ([]element, error) {
	values, err := e.compiled.EvaluateWithContext(eval.NewContext(r.json))
	if err != nil {
		return nil, fmt.Errorf("evaluate %q on %s: %w", e.compiled.String(), r, err)
	}
	for _, v := range values {
		switch v := v.(type) {
		case *types.ObjectValue:
			found = append(found, element{json: v.Data()})
		case types.Boolean, types.Integer, types.Decimal:
			found = append(found, element{json: []byte(v.String())})
		default:
			found = append(found, element{json: appendText(nil, v.String())})
		}
	}
	return found, nil
}
