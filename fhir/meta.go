package fhir

import (
	"iter"
	"maps"
	"time"
)

// Meta is what FHIR keeps about a resource rather than in it.
type Meta struct {
	VersionID     string
	LastUpdated   time.Time // UTC; zero if absent
	Source        string
	Profile       []string
	Security, Tag []Coding
	Rest          map[string]any // further elements (id, extension, …) as in a tree
}

// checkMeta refuses a meta that [Resource.Meta] would have to read only in part: a security label
// that is not understood must not become one that is not there.
func checkMeta(meta []byte) error {
	bad := func(path string) error {
		return &SyntaxError{Path: "meta" + path, Reason: "not what FHIR has there"}
	}
	if meta[0] != '{' {
		return bad("")
	}
	for name, value := range members(meta) {
		switch string(name) {
		case "versionId", "source":
			if value[0] != '"' {
				return bad("." + string(name))
			}
		case "lastUpdated":
			s, _ := text(value)
			if _, err := parseInstant(s); err != nil {
				return bad(".lastUpdated")
			}
		case "profile":
			if value[0] != '[' || !all(items(value), func(v []byte) bool { return v[0] == '"' }) {
				return bad(".profile")
			}
		case "security", "tag":
			if value[0] != '[' || !all(items(value), isCoding) {
				return bad("." + string(name))
			}
		}
	}
	return nil
}

func isCoding(value []byte) bool {
	if value[0] != '{' {
		return false
	}
	for name, v := range members(value) {
		switch string(name) {
		case "system", "code", "display", "version":
			if v[0] != '"' {
				return false
			}
		}
	}
	return true
}

func all(values iter.Seq[[]byte], is func([]byte) bool) bool {
	for v := range values {
		if !is(v) {
			return false
		}
	}
	return true
}

// Meta returns the resource's meta, zero if it has none.
func (r *Resource) Meta() Meta {
	var m Meta
	for name, value := range members(member(r.json, "meta")) {
		switch string(name) {
		case "versionId":
			m.VersionID, _ = text(value)
		case "lastUpdated":
			s, _ := text(value)
			m.LastUpdated, _ = parseInstant(s) // checked by checkMeta
		case "source":
			m.Source, _ = text(value)
		case "profile":
			for v := range items(value) {
				s, _ := text(v)
				m.Profile = append(m.Profile, s)
			}
		case "security":
			m.Security = codings(value)
		case "tag":
			m.Tag = codings(value)
		default:
			if m.Rest == nil {
				m.Rest = make(map[string]any)
			}
			m.Rest[string(name)] = tree(value)
		}
	}
	return m
}

func codings(array []byte) []Coding {
	var cs []Coding
	for v := range items(array) {
		cs = append(cs, coding(v))
	}
	return cs
}

func coding(object []byte) Coding {
	return Coding{
		System: textAt(object, "system"), Code: textAt(object, "code"),
		Display: textAt(object, "display"), Version: textAt(object, "version"),
	}
}

// WithMeta returns the resource with m in place of its meta; a zero m removes it.
func (r *Resource) WithMeta(m Meta) (*Resource, error) {
	t := maps.Clone(m.Rest)
	if t == nil {
		t = make(map[string]any)
	}
	if m.VersionID != "" {
		t["versionId"] = m.VersionID
	}
	if !m.LastUpdated.IsZero() {
		t["lastUpdated"] = FormatInstant(m.LastUpdated)
	}
	if m.Source != "" {
		t["source"] = m.Source
	}
	if len(m.Profile) > 0 {
		t["profile"] = m.Profile
	}
	for name, cs := range map[string][]Coding{"security": m.Security, "tag": m.Tag} {
		if len(cs) > 0 {
			t[name] = codingTrees(cs)
		}
	}
	if len(t) == 0 {
		return r.WithoutMeta()
	}
	meta, err := appendTree(nil, t, 2)
	if err != nil {
		return nil, within("meta", err)
	}
	// The scanner sees what is new alone; the rest of r it has seen already.
	s := scanner{in: meta, maxDepth: defaultDepth - 1}
	if err := s.value(); err != nil {
		return nil, within("meta", err)
	}
	return fromChecked(r.splice("meta", s.out))
}

func codingTrees(cs []Coding) []map[string]any {
	out := make([]map[string]any, len(cs))
	for i, c := range cs {
		out[i] = c.tree()
	}
	return out
}

// WithoutMeta returns the resource without its meta.
func (r *Resource) WithoutMeta() (*Resource, error) {
	return fromChecked(r.splice("meta", nil))
}
