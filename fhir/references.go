package fhir

import "iter"

// References yields every literal reference in the resource as it is written, those of contained
// resources and of a bundle's entries too: the string called reference in whatever element.
// Canonical URLs and identifiers are no references.
func (r *Resource) References() iter.Seq[string] {
	return func(yield func(string) bool) { eachReference(r.json, yield) }
}

func eachReference(value []byte, yield func(string) bool) bool {
	switch value[0] {
	case '{':
		for name, v := range members(value) {
			if s, ok := text(v); ok {
				if string(name) == "reference" && !yield(s) {
					return false
				}
			} else if !eachReference(v, yield) {
				return false
			}
		}
	case '[':
		for v := range items(value) {
			if !eachReference(v, yield) {
				return false
			}
		}
	}
	return true
}

// MapReferences returns the resource with each of its [Resource.References] replaced by what f
// makes of it. The error is a [*SyntaxError] if that is no FHIR string.
func (r *Resource) MapReferences(f func(string) string) (*Resource, error) {
	bad := false
	out := appendMapped(make([]byte, 0, len(r.json)), r.json, func(s string) string {
		s = f(s)
		bad = bad || !isClean(s)
		return s
	})
	if bad {
		return nil, &SyntaxError{Path: "reference", Reason: "not a FHIR string"}
	}
	return fromChecked(out)
}

func appendMapped(out, value []byte, f func(string) string) []byte {
	switch value[0] {
	case '{':
		out = append(out, '{')
		for name, v := range members(value) {
			if out[len(out)-1] != '{' {
				out = append(out, ',')
			}
			out = append(append(append(out, '"'), name...), '"', ':')
			if s, ok := text(v); ok && string(name) == "reference" {
				out = appendText(out, f(s))
			} else {
				out = appendMapped(out, v, f)
			}
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		for v := range items(value) {
			if out[len(out)-1] != '[' {
				out = append(out, ',')
			}
			out = appendMapped(out, v, f)
		}
		return append(out, ']')
	default:
		return append(out, value...)
	}
}
