package fhir

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// appendTree writes Go values as JSON in a stable order: of a resource first its type,
// id and meta, then everything by name. It checks what the scanner could not find out from
// the result: that numbers are numbers and text is UTF-8.
func appendTree(out []byte, value any, depth int) ([]byte, error) {
	if depth > mostDepth {
		return nil, &SyntaxError{Reason: "a tree that is too deep, or contains itself"}
	}
	var err error
	switch v := value.(type) {
	case map[string]any:
		out = append(out, '{')
		for i, name := range elementOrder(v) {
			if i > 0 {
				out = append(out, ',')
			}
			if !elementName([]byte(name)) {
				return nil, &SyntaxError{Reason: "a name that no FHIR element can have"}
			}
			out = append(append(append(out, '"'), name...), '"', ':')
			if out, err = appendTree(out, v[name], depth+1); err != nil {
				return nil, within(name, err)
			}
		}
		return append(out, '}'), nil
	case []any:
		return appendArray(out, v, depth)
	case []map[string]any:
		return appendArray(out, v, depth)
	case []string:
		return appendArray(out, v, depth)
	case string:
		if !utf8.ValidString(v) {
			return nil, &SyntaxError{Reason: "invalid UTF-8"}
		}
		return appendText(out, v), nil
	case *Resource:
		if v == nil {
			return nil, &SyntaxError{Reason: "a resource that is nil"}
		}
		return append(out, v.json...), nil
	case bool:
		return strconv.AppendBool(out, v), nil
	case nil:
		return append(out, "null"...), nil
	case json.Number:
		if n := numberLength([]byte(v)); n == 0 || n != len(v) {
			return nil, &SyntaxError{Reason: "a malformed number"}
		}
		return append(out, v...), nil
	case int:
		return strconv.AppendInt(out, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(out, v, 10), nil
	case uint64:
		return strconv.AppendUint(out, v, 10), nil
	default:
		// float64 among others: it has lost the precision that FHIR decimals carry.
		return nil, &SyntaxError{Reason: fmt.Sprintf("a Go value of type %T", value)}
	}
}

func appendArray[T any](out []byte, array []T, depth int) ([]byte, error) {
	out = append(out, '[')
	for i, item := range array {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = appendTree(out, item, depth+1); err != nil {
			return nil, within("["+strconv.Itoa(i)+"]", err)
		}
	}
	return append(out, ']'), nil
}

// within puts where an error happened in front of its path.
func within(where string, err error) error {
	e, ok := errors.AsType[*SyntaxError](err)
	if !ok {
		return err
	}
	switch {
	case e.Path == "":
		e.Path = where
	case e.Path[0] == '[':
		e.Path = where + e.Path
	default:
		e.Path = where + "." + e.Path
	}
	return e
}

func elementOrder(m map[string]any) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
}

func rank(name string) int {
	switch name {
	case "resourceType":
		return 0
	case "id":
		return 1
	case "meta":
		return 2
	default:
		return 3
	}
}

// appendCanonical writes value with its names in the order of RFC 8785 §3.2.3. Names are
// ASCII here, so bytes sort as UTF-16 code units do.
func appendCanonical(out, value []byte) []byte {
	switch value[0] {
	case '{':
		type pair struct{ name, value []byte }
		var pairs []pair
		for name, v := range members(value) {
			pairs = append(pairs, pair{name, v})
		}
		slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(a.name, b.name) })
		out = append(out, '{')
		for i, p := range pairs {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(append(out, '"'), p.name...), '"', ':')
			out = appendCanonical(out, p.value)
		}
		return append(out, '}')
	case '[':
		out = append(out, '[')
		first := true
		for v := range items(value) {
			if !first {
				out = append(out, ',')
			}
			first = false
			out = appendCanonical(out, v)
		}
		return append(out, ']')
	default:
		return append(out, value...)
	}
}
