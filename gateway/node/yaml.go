package node

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/samber/lo"
)

// A Problem is one mistake in a configuration file and where it stands.
type Problem struct {
	Line, Column int    // from 1; 0 where the whole file is meant
	Path         string // the setting, as in "custodians[1].url"
	Message      string
}

// A ConfigError lists every mistake found in one configuration file. A person
// mends a file once, not once per mistake.
type ConfigError struct {
	File     string
	Problems []Problem // in the order in which they stand in the file
}

// Error lists the problems one a line, in the form compilers use, so that
// editors can jump to them.
func (e *ConfigError) Error() string {
	return strings.Join(lo.Map(e.Problems, func(p Problem, _ int) string {
		where := e.File
		if p.Line > 0 {
			where = fmt.Sprintf("%s:%d:%d", e.File, p.Line, p.Column)
		}
		if p.Path == "" {
			return fmt.Sprintf("%s: %s", where, p.Message)
		}
		return fmt.Sprintf("%s: %s: %s", where, p.Path, p.Message)
	}), "\n")
}

// A document is one YAML file being turned into a settings struct: it collects
// mistakes and remembers where each setting stands, so that checks on meaning,
// made later, can point at the line too.
type document struct {
	file     string
	where    map[string]*token.Position
	problems []Problem
}

// decode reads YAML strictly into the struct that dst points to: unknown and
// doubled keys, wrong kinds and several documents are problems, and all of them
// are found in one go. Settings that the file leaves out keep what dst held.
func decode(file string, data []byte, dst any) *document {
	d := &document{file: file, where: map[string]*token.Position{}}
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		d.syntax(err)
		return d
	}
	bodies := lo.Filter(parsed.Docs, func(doc *ast.DocumentNode, _ int) bool { return doc.Body != nil })
	switch len(bodies) {
	case 0:
		d.problem("", "is empty")
	case 1:
		d.value("", bodies[0].Body, reflect.ValueOf(dst).Elem())
	default:
		d.add(begin(bodies[1].Body), "", "a second document: one file holds one")
	}
	return d
}

// problem records a mistake at the setting called path, or at the nearest
// setting around it that the file has. The first mistake of a setting is enough:
// of one that is no list or group, nothing can be said about what is in it.
func (d *document) problem(path, format string, args ...any) {
	if slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Path != "" && around(p.Path, path) }) {
		return
	}
	near := path
	for d.where[near] == nil && near != "" {
		near = near[:max(strings.LastIndexAny(near, ".["), 0)]
	}
	d.add(d.where[near], path, fmt.Sprintf(format, args...))
}

// around reports whether outer is the setting inner, or one that it is within.
func around(outer, inner string) bool {
	rest, found := strings.CutPrefix(inner, outer)
	return found && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// legible reports whether the file could be read as a group of settings at all.
// Of one that could not, whatever else might be said would be false.
func (d *document) legible() bool {
	return !slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Path == "" })
}

// err returns all problems as one [*ConfigError], or nil.
func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return &ConfigError{File: d.file, Problems: d.problems}
}

func (d *document) add(at *token.Position, path, message string) {
	p := Problem{Path: path, Message: message}
	if at != nil {
		p.Line, p.Column = at.Line, at.Column
	}
	d.problems = append(d.problems, p)
}

func (d *document) syntax(err error) {
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		d.add(e.GetToken().Position, "", e.GetMessage())
		return
	}
	d.add(nil, "", err.Error())
}

// misread is what is wrong with a file that its own package reads, such as the
// trust file: at a line where the YAML library knows it, else in that package's
// words alone.
func misread(file string, err error) error {
	d := &document{file: file}
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		d.syntax(e)
		return d.err()
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		d.add(nil, "", line)
	}
	return d.err()
}

// value decodes one node; structs, lists and maps are walked here, so that one
// mistake does not hide the next; what is single is left to the library.
func (d *document) value(path string, node ast.Node, dst reflect.Value) {
	d.where[path] = begin(node)
	if _, ok := node.(*ast.NullNode); ok {
		return // "key:" with nothing after it states nothing
	}
	switch {
	case dst.Kind() == reflect.Pointer && dst.Type().Elem().Kind() == reflect.Struct:
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		d.value(path, node, dst.Elem())
	case dst.Kind() == reflect.Struct:
		d.object(path, node, dst)
	case dst.Kind() == reflect.Slice:
		d.list(path, node, dst)
	case dst.Kind() == reflect.Map:
		d.table(path, node, dst)
	default:
		if err := yaml.NodeToValue(node, dst.Addr().Interface(), yaml.Strict()); err != nil {
			d.problem(path, "should be %s", kindName(dst.Type()))
		}
	}
}

func (d *document) object(path string, node ast.Node, dst reflect.Value) {
	pairs, ok := entries(node)
	if !ok {
		d.problem(path, "should be a group of settings")
		return
	}
	fields := map[string]reflect.Value{}
	for i := range dst.NumField() {
		if name, _, _ := strings.Cut(dst.Type().Field(i).Tag.Get("yaml"), ","); name != "" && name != "-" {
			fields[name] = dst.Field(i)
		}
	}
	for _, pair := range pairs {
		key := pair.Key.GetToken()
		field, known := fields[key.Value]
		if !known {
			d.add(key.Position, join(path, key.Value), "unknown setting; known here: "+
				strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			continue
		}
		d.value(join(path, key.Value), pair.Value, field)
		d.where[join(path, key.Value)] = key.Position // a mistake is shown at the setting's name
	}
}

func (d *document) list(path string, node ast.Node, dst reflect.Value) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		d.problem(path, "should be a list")
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(seq.Values), len(seq.Values))
	for i, v := range seq.Values {
		d.value(fmt.Sprintf("%s[%d]", path, i), v, out.Index(i))
	}
	dst.Set(out)
}

func (d *document) table(path string, node ast.Node, dst reflect.Value) {
	pairs, ok := entries(node)
	if !ok {
		d.problem(path, "should be a group of settings")
		return
	}
	out := reflect.MakeMap(dst.Type())
	for _, pair := range pairs {
		key := pair.Key.GetToken()
		v := reflect.New(dst.Type().Elem()).Elem()
		d.value(join(path, key.Value), pair.Value, v)
		d.where[join(path, key.Value)] = key.Position
		out.SetMapIndex(reflect.ValueOf(key.Value).Convert(dst.Type().Key()), v)
	}
	dst.Set(out)
}

// begin is where a node begins. A mapping's own token is its first colon.
func begin(node ast.Node) *token.Position {
	if pairs, ok := entries(node); ok && len(pairs) > 0 {
		return pairs[0].Key.GetToken().Position
	}
	return node.GetToken().Position
}

// entries returns the pairs of a mapping; the library has a node of its own for
// a mapping with one pair.
func entries(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := node.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	default:
		return nil, false
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func kindName(t reflect.Type) string {
	switch {
	case t.PkgPath() == "time" && t.Name() == "Duration":
		return "a length of time such as 30s"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"
	default:
		return "a " + t.String()
	}
}
