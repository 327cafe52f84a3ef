package fhir

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits bounds what [Parse] accepts. The zero value means 10 MiB and a depth
// of 64.
type Limits struct {
	Bytes int // size of the document in bytes; 10 MiB if zero
	Depth int // objects and arrays within each other, the resource itself being 1; 64 if zero, 1000 at most
}

const (
	defaultBytes = 10 << 20
	defaultDepth = 64
	mostDepth    = 1000 // the scanner recurses; a configured slip must not exhaust the stack
)

// SyntaxError says where and why a document is not acceptable. It names
// elements and positions in the tree, never values, so that it may be logged and sent back.
type SyntaxError struct {
	Path   string // "code.coding[0].system"; "" for the document as a whole
	Reason string
}

func (e *SyntaxError) Error() string {
	if e.Path == "" {
		return "invalid resource: " + e.Reason
	}
	return "invalid resource: " + e.Path + ": " + e.Reason
}

// Parse reads exactly one resource. It is strict where JSON parsers differ from
// one another: duplicate names (also those that differ in case alone), names
// that no FHIR element can have, null in place of an element, data after the
// document, a byte order mark, NUL and the other characters that FHIR strings
// exclude, invalid UTF-8 and lone surrogates are refused, and so are numbers
// that a float64 cannot reach. Accepted numbers keep the digits they came with.
//
// The error is always a [*SyntaxError]. data is not kept.
func Parse(data []byte, l Limits) (*Resource, error) {
	if l.Bytes <= 0 {
		l.Bytes = defaultBytes
	}
	if l.Depth <= 0 {
		l.Depth = defaultDepth
	}
	if len(data) > l.Bytes {
		return nil, &SyntaxError{Reason: fmt.Sprintf("larger than %d bytes", l.Bytes)}
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, &SyntaxError{Reason: "begins with a byte order mark"}
	}
	s := scanner{in: data, out: make([]byte, 0, len(data)), maxDepth: min(l.Depth, mostDepth)}
	s.space()
	if s.peek() != '{' {
		return nil, &SyntaxError{Reason: "not a JSON object"}
	}
	err := s.value()
	if err == nil {
		s.space()
		if s.pos < len(s.in) {
			err = s.fail("data after the document")
		}
	}
	if err != nil {
		return nil, err
	}
	return fromChecked(s.out)
}

// scanner validates JSON and writes it compactly in the same pass. Strings come
// out with the fewest escapes (RFC 8785 §3.2.2.2), so equal strings are equal bytes.
type scanner struct {
	in       []byte
	pos      int
	out      []byte
	maxDepth int
	depth    int
	names    []span // names of the objects that are open, innermost last
	path     []step // for errors only
}

type span struct{ from, to int } // in out

// step is one element of the path to what is being read: a name, or an index when
// name is empty.
type step struct {
	name  span
	index int
}

func (s *scanner) fail(reason string) *SyntaxError {
	var b strings.Builder
	for _, e := range s.path {
		if e.name == (span{}) {
			b.WriteString("[" + strconv.Itoa(e.index) + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.Write(s.out[e.name.from:e.name.to])
	}
	return &SyntaxError{Path: b.String(), Reason: reason}
}

// peek is the next byte, or 0 at the end, which no JSON token begins with.
func (s *scanner) peek() byte {
	if s.pos < len(s.in) {
		return s.in[s.pos]
	}
	return 0
}

func (s *scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '{':
		return s.nested((*scanner).object)
	case c == '[':
		return s.nested((*scanner).array)
	case c == '"':
		return s.string()
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case s.pos >= len(s.in):
		return s.fail("ends too early")
	case c == 0:
		return s.fail("a NUL byte")
	default:
		return s.fail("not a JSON value")
	}
}

func (s *scanner) nested(read func(*scanner) error) error {
	if s.depth == s.maxDepth {
		return s.fail(fmt.Sprintf("nested deeper than %d", s.maxDepth))
	}
	s.depth++
	s.out = append(s.out, s.in[s.pos])
	s.pos++
	s.space()
	err := read(s)
	s.depth--
	return err
}

// manyNames is the size of an object from which names are compared through a map:
// no FHIR element has so many, and an attacker's must not cost the square.
const manyNames = 48

func (s *scanner) object() error {
	first := len(s.names)
	defer func() { s.names = s.names[:first] }()
	var seen map[string]struct{}
	for n := 0; ; n++ {
		if n == 0 && s.peek() == '}' {
			break
		}
		if s.peek() != '"' {
			return s.fail("an element's name is missing")
		}
		from := len(s.out) + 1
		if err := s.string(); err != nil {
			return err
		}
		name := span{from, len(s.out) - 1}
		if !elementName(s.out[name.from:name.to]) {
			return s.fail("a name that no FHIR element can have")
		}
		if n == manyNames {
			seen = make(map[string]struct{}, 2*manyNames)
			for _, other := range s.names[first:] {
				seen[lower(s.out[other.from:other.to])] = struct{}{}
			}
		}
		if s.duplicate(first, name, seen) {
			s.path = append(s.path, step{name: name})
			return s.fail("a duplicate element")
		}
		s.names = append(s.names, name)
		s.path = append(s.path, step{name: name})
		s.space()
		if s.peek() != ':' {
			return s.fail("a colon is missing")
		}
		s.pos++
		s.out = append(s.out, ':')
		s.space()
		if s.peek() == 'n' {
			// FHIR JSON §2.6.2: null stands only in arrays of primitives.
			return s.fail("null in place of an element")
		}
		if err := s.value(); err != nil {
			return err
		}
		s.path = s.path[:len(s.path)-1]
		more, err := s.next('}')
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	s.pos++
	s.out = append(s.out, '}')
	return nil
}

func (s *scanner) duplicate(first int, name span, seen map[string]struct{}) bool {
	text := s.out[name.from:name.to]
	if seen != nil {
		key := lower(text)
		_, found := seen[key]
		seen[key] = struct{}{}
		return found
	}
	for _, other := range s.names[first:] {
		if other.to-other.from == len(text) && bytes.EqualFold(s.out[other.from:other.to], text) {
			return true
		}
	}
	return false
}

func lower(name []byte) string { return string(bytes.ToLower(name)) }

// elementName accepts the shape of every FHIR element's name: lower camel case in ASCII,
// with an underscore in front for a primitive's extensions.
func elementName(name []byte) bool {
	name = bytes.TrimPrefix(name, []byte("_"))
	if len(name) == 0 || len(name) > 128 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, c := range name {
		if !alphanumeric(c) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func (s *scanner) array() error {
	for n := 0; ; n++ {
		if n == 0 && s.peek() == ']' {
			break
		}
		s.path = append(s.path, step{index: n})
		if err := s.value(); err != nil {
			return err
		}
		s.path = s.path[:len(s.path)-1]
		more, err := s.next(']')
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	s.pos++
	s.out = append(s.out, ']')
	return nil
}

// next steps over a comma and reports that something must follow, or stops at the end
// bracket. A comma before the bracket is left to fail as a missing value.
func (s *scanner) next(end byte) (more bool, err error) {
	s.space()
	switch s.peek() {
	case ',':
		s.pos++
		s.out = append(s.out, ',')
		s.space()
		return true, nil
	case end:
		return false, nil
	default:
		if s.pos >= len(s.in) {
			return false, s.fail("ends too early")
		}
		return false, s.fail("a comma or closing bracket is missing")
	}
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.in[s.pos:], []byte(word)) {
		return s.fail("not a JSON value")
	}
	s.pos += len(word)
	s.out = append(s.out, word...)
	return nil
}

func (s *scanner) number() error {
	n := numberLength(s.in[s.pos:])
	if n == 0 {
		return s.fail("a malformed number")
	}
	text := s.in[s.pos : s.pos+n]
	if !saneNumber(text) {
		return s.fail("a number beyond what decimals are for")
	}
	s.out = append(s.out, text...)
	s.pos += n
	return nil
}

// numberLength is the length of the JSON number at the beginning of b, 0 if there is
// none. What follows the number is somebody else's business, except for a digit after a leading zero.
func numberLength(b []byte) int {
	i := 0
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	at := func(c byte) bool { return i < len(b) && b[i] == c }
	if at('-') {
		i++
	}
	zero := at('0')
	from := i
	if !digits() || zero && i > from+1 {
		return 0
	}
	if at('.') {
		if i++; !digits() {
			return 0
		}
	}
	if at('e') || at('E') {
		if i++; at('+') || at('-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

// saneNumber keeps every number within a float64's range, so that no reader behind us
// sees infinity where another sees digits. FHIR itself asks for 18 digits.
func saneNumber(text []byte) bool {
	if len(text) > 64 {
		return false
	}
	i := bytes.IndexAny(text, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(string(text[i+1:]))
	return err == nil && exponent >= -200 && exponent <= 200
}

// string reads the string at pos and writes it with the fewest escapes.
func (s *scanner) string() error {
	s.pos++
	s.out = append(s.out, '"')
	for {
		from := s.pos
		for s.pos < len(s.in) && plain(s.in[s.pos]) {
			s.pos++
		}
		s.out = append(s.out, s.in[from:s.pos]...)
		if s.pos >= len(s.in) {
			return s.fail("ends within a string")
		}
		switch c := s.in[s.pos]; {
		case c == '"':
			s.pos++
			s.out = append(s.out, '"')
			return nil
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return err
			}
			s.out = appendRune(s.out, r)
		case c < ' ':
			return s.fail("a control character in a string")
		default:
			r, size := utf8.DecodeRune(s.in[s.pos:])
			if r == utf8.RuneError && size == 1 {
				return s.fail("invalid UTF-8")
			}
			s.out = append(s.out, s.in[s.pos:s.pos+size]...)
			s.pos += size
		}
	}
}

// plain says that a byte of a string stands for itself: ASCII without control
// characters, quote and backslash.
func plain(c byte) bool { return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' }

func (s *scanner) escape() (rune, error) {
	if s.pos+1 >= len(s.in) {
		return 0, s.fail("ends within a string")
	}
	c := s.in[s.pos+1]
	s.pos += 2
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 't':
		return '\t', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 'u':
		r, ok := s.hex()
		if !ok {
			return 0, s.fail("a malformed escape")
		}
		if utf16.IsSurrogate(r) {
			if !bytes.HasPrefix(s.in[s.pos:], []byte(`\u`)) {
				return 0, s.fail("a lone surrogate")
			}
			s.pos += 2
			low, ok := s.hex()
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return 0, s.fail("a lone surrogate")
			}
		}
		if excluded(r) {
			return 0, s.fail("a control character in a string")
		}
		return r, nil
	case 'b', 'f':
		return 0, s.fail("a control character in a string")
	default:
		return 0, s.fail("a malformed escape")
	}
}

func (s *scanner) hex() (rune, bool) {
	if s.pos+4 > len(s.in) {
		return 0, false
	}
	var r rune
	for _, c := range s.in[s.pos : s.pos+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	s.pos += 4
	return r, true
}

// appendRune writes a character of a string as RFC 8785 does.
func appendRune(out []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(out, '\\', byte(r))
	case '\t':
		return append(out, '\\', 't')
	case '\n':
		return append(out, '\\', 'n')
	case '\r':
		return append(out, '\\', 'r')
	default:
		return utf8.AppendRune(out, r)
	}
}
