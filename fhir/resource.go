package fhir

import (
	"log/slog"
	"strings"
)

// Resource is one FHIR resource. It never changes and may be shared between
// goroutines. There is no useful zero value: resources come from [Parse], [New]
// and the methods here, so whoever holds one knows that it passed their checks.
type Resource struct {
	typ, id string
	json    []byte // as the scanner writes it
}

// New makes a resource of a tree of map[string]any, []any, []string,
// []map[string]any, string, bool, int, int64, uint64, json.Number, nil (in arrays alone) and *Resource
// (contained, or entries of a bundle). It takes the tree and may keep parts of it. The
// checks are those of [Parse] with the default limits; the error is a
// [*SyntaxError].
func New(tree map[string]any) (*Resource, error) {
	out, err := appendTree(nil, tree, 1)
	if err != nil {
		return nil, err
	}
	return Parse(out, Limits{})
}

// fromChecked makes a resource of JSON that a scanner wrote, or that was put together
// from such JSON. It checks what a scanner does not look at: the elements that
// every resource has.
func fromChecked(json []byte) (*Resource, error) {
	r := &Resource{json: json}
	var named bool
	for name, value := range members(json) {
		switch string(name) {
		case "resourceType":
			r.typ, named = text(value)
			if !named || !typeShape(r.typ) {
				return nil, &SyntaxError{Path: "resourceType", Reason: "not the name of a resource type"}
			}
		case "id":
			id, ok := text(value)
			if !ok || !ValidID(id) {
				return nil, &SyntaxError{Path: "id", Reason: "not a FHIR id"}
			}
			r.id = id
		case "meta":
			if err := checkMeta(value); err != nil {
				return nil, err
			}
		}
	}
	if !named {
		return nil, &SyntaxError{Path: "resourceType", Reason: "missing"}
	}
	return r, nil
}

// typeShape accepts what may be a resource type in some version of FHIR. Whether it is
// one here, [KnownType] says.
func typeShape(s string) bool {
	if len(s) == 0 || len(s) > 64 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool { return c > 'z' || !alphanumeric(byte(c)) })
}

// Type is the resource's type. Its shape is right; it need not be one of R4.
func (r *Resource) Type() string { return r.typ }

// ID is the resource's id, "" if it has none yet.
func (r *Resource) ID() string { return r.id }

// Ref is the relative reference to the resource, without a version.
func (r *Resource) Ref() Ref { return Ref{Type: r.typ, ID: r.id} }

// JSON is the resource without white space, elements in the order they came in.
// The bytes belong to the resource and must not be changed.
func (r *Resource) JSON() []byte { return r.json[:len(r.json):len(r.json)] }

// MarshalJSON lets a resource be a field of something that encoding/json writes.
func (r *Resource) MarshalJSON() ([]byte, error) { return r.json, nil }

// String names the resource and holds none of its content, since it is what logs
// print.
func (r *Resource) String() string { return r.Ref().String() }

// GoString is String, for %#v.
func (r *Resource) GoString() string { return r.String() }

// LogValue is String: a log line may name a resource, never show it.
func (r *Resource) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Canonical is the resource with every object's elements sorted by name: RFC
// 8785, but for numbers, which keep the digits they came with, because 1.50 and 1.5 are two
// different measurements in FHIR. Resources with equal content have equal canonical bytes.
func (r *Resource) Canonical() []byte {
	return appendCanonical(make([]byte, 0, len(r.json)), r.json)
}

// Tree is a copy of the resource as map[string]any, []any, string, bool, nil and
// json.Number. The caller may do with it what they like.
func (r *Resource) Tree() map[string]any { return tree(r.json).(map[string]any) }

// With returns the resource as edit leaves it, checked as by [New]. r stays as it is.
func (r *Resource) With(edit func(tree map[string]any)) (*Resource, error) {
	t := r.Tree()
	edit(t)
	return New(t)
}

// WithID returns the resource under another id.
func (r *Resource) WithID(id string) (*Resource, error) {
	if !ValidID(id) {
		return nil, &SyntaxError{Path: "id", Reason: "not a FHIR id"}
	}
	return fromChecked(r.splice("id", appendText(nil, id)))
}

// splice returns the resource's JSON with one element replaced, or left out if value is
// nil. The type, id and meta come first.
func (r *Resource) splice(name string, value []byte) []byte {
	out := make([]byte, 0, len(r.json)+len(name)+len(value)+4)
	out = append(out, '{')
	for _, first := range []string{"resourceType", "id", "meta"} {
		v := value
		if first != name {
			v = member(r.json, first)
		}
		if v != nil {
			out = appendMember(out, first, v)
		}
	}
	for n, v := range members(r.json) {
		if rank(string(n)) == 3 {
			out = appendMember(out, string(n), v)
		}
	}
	return append(out, '}')
}
