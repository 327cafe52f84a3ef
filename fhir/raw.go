package fhir

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The functions of this file walk JSON that a scanner wrote: compact, valid,
// names without escapes. They neither check nor copy.

// members yields the names and values of an object; nothing for any other value.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		if len(object) < 2 || object[0] != '{' {
			return
		}
		for i := 1; i < len(object) && object[i] == '"'; i++ {
			n := i + 1 + bytes.IndexByte(object[i+1:], '"')
			end := skip(object, n+2)
			if !yield(object[i+1:n], object[n+2:end:end]) {
				return
			}
			i = end // at a comma or the closing brace
		}
	}
}

// items yields the elements of an array; any other value is taken for its own single
// element, and no value for none.
func items(value []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if len(value) == 0 {
			return
		}
		if value[0] != '[' {
			yield(value)
			return
		}
		for i := 1; i < len(value)-1; i++ {
			end := skip(value, i)
			if !yield(value[i:end:end]) {
				return
			}
			i = end
		}
	}
}

// member is the value of the named element, nil if there is none.
func member(object []byte, name string) []byte {
	for n, value := range members(object) {
		if string(n) == name {
			return value
		}
	}
	return nil
}

// at follows names through objects and, element by element, through arrays.
func at(value []byte, names ...string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) { walk(value, names, yield) }
}

func walk(value []byte, names []string, yield func([]byte) bool) bool {
	for item := range items(value) {
		if len(names) == 0 {
			if !yield(item) {
				return false
			}
		} else if !walk(member(item, names[0]), names[1:], yield) {
			return false
		}
	}
	return true
}

// skip is the position after the value at i.
func skip(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		depth := 0
		for {
			switch b[i] {
			case '"':
				i = skipString(b, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
			i++
		}
	default:
		for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' {
			i++
		}
		return i
	}
}

func skipString(b []byte, i int) int {
	for i++; ; {
		n := bytes.IndexByte(b[i:], '"')
		back := i + n
		for back > i && b[back-1] == '\\' {
			back--
		}
		escaped := (i+n-back)%2 == 1
		i += n + 1
		if !escaped {
			return i
		}
	}
}

// text is a JSON string's content; ok is false for any other value.
func text(value []byte) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	out := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		c := inner[i]
		if c == '\\' {
			i++
			switch c = inner[i]; c {
			case 't':
				c = '\t'
			case 'n':
				c = '\n'
			case 'r':
				c = '\r'
			}
		}
		out = append(out, c)
	}
	return string(out), true
}

// textAt is the named element's string, "" if there is none.
func textAt(object []byte, name string) string {
	s, _ := text(member(object, name))
	return s
}

// appendText writes s as the scanner writes strings. s must be clean.
func appendText(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		out = appendRune(out, r)
	}
	return append(out, '"')
}

// isClean says whether a FHIR string may hold s.
func isClean(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, excluded)
}

// excluded are the characters that FHIR strings exclude (R4 §2.24.0.1).
func excluded(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }

// clean replaces what FHIR strings exclude, for texts that are not worth refusing:
// those of our own errors.
func clean(s string) string {
	out := make([]byte, 0, len(s))
	for _, r := range s { // invalid UTF-8 comes as U+FFFD
		if excluded(r) {
			r = ' '
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

// tree builds Go values; numbers become json.Number.
func tree(value []byte) any {
	switch value[0] {
	case '{':
		m := make(map[string]any)
		for name, v := range members(value) {
			m[string(name)] = tree(v)
		}
		return m
	case '[':
		a := []any{}
		for v := range items(value) {
			a = append(a, tree(v))
		}
		return a
	case '"':
		s, _ := text(value)
		return s
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	default:
		return json.Number(value)
	}
}

// appendMember writes a name and a value that is JSON already, with a comma if the object
// is not empty.
func appendMember(out []byte, name string, value []byte) []byte {
	if out[len(out)-1] != '{' {
		out = append(out, ',')
	}
	out = append(out, '"')
	out = append(out, name...)
	out = append(out, '"', ':')
	return append(out, value...)
}

// appendTextMember writes a string member unless it is empty.
func appendTextMember(out []byte, name, s string) []byte {
	if s == "" {
		return out
	}
	return appendMember(out, name, appendText(nil, s))
}

func appendIntMember(out []byte, name string, n int) []byte {
	return appendMember(out, name, strconv.AppendInt(nil, int64(n), 10))
}
