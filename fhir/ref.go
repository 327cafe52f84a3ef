package fhir

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of references that [ParseRef] refuses.
var (
	// ErrBadRef marks what is not a reference at all, or not to one resource of R4.
	ErrBadRef = errors.New("malformed reference")
	// ErrForeignRef marks an absolute reference to a place other than the base.
	ErrForeignRef = errors.New("reference to another server")
	// ErrLocalRef marks what has a meaning only within one document: "#contained" and
	// the urn: of a bundle's entry.
	ErrLocalRef = errors.New("reference within a document")
	// ErrConditionalRef marks a search in place of a reference ("Patient?identifier=…").
	ErrConditionalRef = errors.New("conditional reference")
)

// Ref is a literal reference to a resource of this server.
type Ref struct {
	Type, ID string
	Version  string // "" for the current one
}

// String is the relative form: "Patient/7", "Patient/7/_history/2".
func (r Ref) String() string {
	if r.Version == "" {
		return r.Type + "/" + r.ID
	}
	return r.Type + "/" + r.ID + "/_history/" + r.Version
}

// Current is the reference without its version.
func (r Ref) Current() Ref { return Ref{Type: r.Type, ID: r.ID} }

// ParseRef reads a relative reference, or an absolute one that begins exactly with base
// ("https://hospital.example/fhir", a slash at the end or not; "" for none). Nothing is folded
// or decoded on the way. The error wraps one of [ErrBadRef], [ErrForeignRef],
// [ErrLocalRef] and [ErrConditionalRef] and does not repeat the reference.
func ParseRef(s, base string) (Ref, error) {
	if strings.HasPrefix(s, "#") || strings.HasPrefix(s, "urn:") {
		return Ref{}, ErrLocalRef
	}
	if strings.Contains(s, "://") {
		rest, ok := strings.CutPrefix(s, strings.TrimSuffix(base, "/")+"/")
		if base == "" || !ok {
			return Ref{}, ErrForeignRef
		}
		s = rest
	}
	typ, rest, _ := strings.Cut(s, "/")
	if before, _, found := strings.Cut(s, "?"); found && KnownType(before) {
		return Ref{}, ErrConditionalRef
	}
	id, version, versioned := strings.Cut(rest, "/_history/")
	switch {
	case !KnownType(typ):
		return Ref{}, fmt.Errorf("%w: not a resource type of R4", ErrBadRef)
	case !ValidID(id):
		return Ref{}, fmt.Errorf("%w: not a FHIR id", ErrBadRef)
	case versioned && !ValidID(version):
		return Ref{}, fmt.Errorf("%w: not a version", ErrBadRef)
	}
	return Ref{Type: typ, ID: id, Version: version}, nil
}

// ValidID accepts the ids of FHIR: 1 to 64 of A–Z, a–z, 0–9, "-" and ".". An id of
// nothing but dots is refused although FHIR has it, because paths are built of ids.
func ValidID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	dots := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.':
			dots++
		case c != '-' && !alphanumeric(c):
			return false
		}
	}
	return dots < len(s)
}
