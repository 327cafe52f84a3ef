package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// The contexts of SMART scopes.
const (
	ScopePatient = "patient"
	ScopeUser    = "user"
	ScopeSystem  = "system"
)

// Scopes is a set of SMART scopes. The zero value allows nothing.
type Scopes struct {
	list []scope
}

// scope is one "context/Type.cruds?category=…".
type scope struct {
	context      string
	typ          string // "*" for all
	interactions string // some of cruds
	category     string // "system|code"; "" for all
	code         string // "system|code"; "" for all
}

// plainScopes say things about the session and give no access to data.
var plainScopes = []string{"openid", "fhirUser", "profile", "email", "launch", "launch/patient", "launch/encounter", "offline_access", "online_access"}

const maxScopes = 256

// ParseScopes reads SMART App Launch 2.2 scopes, v1 and v2. The letters of
// cruds come in that order and once; a restriction is a category or a code
// written system|code. Whatever else is there is an error: to leave out a
// restriction would widen the scope.
func ParseScopes(list []string) (Scopes, error) {
	if len(list) > maxScopes {
		return Scopes{}, fmt.Errorf("%d scopes, at most %d", len(list), maxScopes)
	}
	var s Scopes
	for _, text := range list {
		if slices.Contains(plainScopes, text) {
			continue
		}
		one, err := parseScope(text)
		if err != nil {
			return Scopes{}, fmt.Errorf("scope %q: %w", clip(text), err)
		}
		s.list = append(s.list, one)
	}
	return s, nil
}

func parseScope(text string) (scope, error) {
	if len(text) > 512 {
		return scope{}, fmt.Errorf("longer than 512 bytes")
	}
	context, rest, ok := strings.Cut(text, "/")
	if !ok || !slices.Contains([]string{ScopePatient, ScopeUser, ScopeSystem}, context) {
		return scope{}, fmt.Errorf("no context patient, user or system")
	}
	head, query, restricted := strings.Cut(rest, "?")
	typ, letters, ok := strings.Cut(head, ".")
	if !ok || (typ != "*" && !fhir.KnownType(typ)) {
		return scope{}, fmt.Errorf("no resource type or *")
	}
	s := scope{context: context, typ: typ, interactions: letters}
	switch letters {
	case "read":
		s.interactions = "rs"
	case "write":
		s.interactions = "cud"
	case "*":
		s.interactions = "cruds"
	default:
		if letters == "" || !inOrder(letters, "cruds") {
			return scope{}, fmt.Errorf("interactions %q: want some of cruds in that order", clip(letters))
		}
	}
	if !restricted {
		return s, nil
	}
	if letters != s.interactions {
		return scope{}, fmt.Errorf("v1 scopes have no restrictions")
	}
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		var into *string
		switch name {
		case "category":
			into = &s.category
		case "code":
			into = &s.code
		default:
			return scope{}, fmt.Errorf("restriction by %q", clip(name))
		}
		if *into != "" || !terms().knowsCoding(value) || strings.ContainsAny(value, "%,$\\ +") {
			return scope{}, fmt.Errorf("restriction %s: want one system|code, as it is", clip(name))
		}
		*into = value
	}
	return s, nil
}

// inOrder tells whether s is some of the letters, each once and in order.
func inOrder(s, letters string) bool {
	for _, r := range letters {
		s = strings.TrimPrefix(s, string(r))
	}
	return s == ""
}

// Allows tells whether some scope of the context ("" for any) allows an
// interaction, one of c r u d s, on a type, if perhaps not on all of it:
// [Scopes.Covers] tells of one record.
func (s Scopes) Allows(typ string, interaction byte, context string) bool {
	return slices.ContainsFunc(s.list, func(one scope) bool { return one.allows(typ, interaction, context) })
}

func (s scope) allows(typ string, interaction byte, context string) bool {
	return (context == "" || s.context == context) && (s.typ == "*" || s.typ == typ) && strings.IndexByte(s.interactions, interaction) >= 0
}

// Covers tells whether some scope of the context allows the interaction on this
// record. A record without a category or code is outside a restriction by one.
func (s Scopes) Covers(r *Resource, interaction byte, context string) bool {
	return slices.ContainsFunc(s.list, func(one scope) bool {
		return one.allows(r.Type, interaction, context) &&
			(one.category == "" || slices.Contains(r.Categories, one.category)) &&
			(one.code == "" || slices.Contains(r.Codes, one.code))
	})
}

// String writes the scopes as v2 scopes, with spaces between.
func (s Scopes) String() string {
	return strings.Join(lo.Map(s.list, func(one scope, _ int) string {
		text := one.context + "/" + one.typ + "." + one.interactions
		restrictions := lo.Compact([]string{prefixed("category=", one.category), prefixed("code=", one.code)})
		if len(restrictions) > 0 {
			text += "?" + strings.Join(restrictions, "&")
		}
		return text
	}), " ")
}

func prefixed(name, value string) string {
	if value == "" {
		return ""
	}
	return name + value
}

// interaction is the letter of an action; 0 for none. A look-up is a search.
func interaction(action string) byte {
	switch action {
	case Read, History:
		return 'r'
	case Search, Lookup:
		return 's'
	case Create:
		return 'c'
	case Update:
		return 'u'
	case Delete:
		return 'd'
	}
	return 0
}
