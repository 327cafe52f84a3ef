package fhir

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Match says whether a resource is among what a query looks for. Only the terms
// count; order and paging are the caller's. It is the one evaluator, for the store as for the
// gateway, and safe for concurrent use. An error means that the question could not be
// answered, so the resource must not be shown.
func Match(q Query, r *Resource) (bool, error) {
	if r.typ != q.Type {
		return false, nil
	}
	for _, t := range q.Terms {
		found, err := t.match(q, r)
		if err != nil {
			return false, fmt.Errorf("match: %w", err)
		}
		if !found {
			return false, nil
		}
	}
	return true, nil
}

func (t Term) match(q Query, r *Resource) (bool, error) {
	has, err := t.Param.values(r, q.Zone, q.Base)
	if err != nil {
		return false, err
	}
	return t.MatchValues(has), nil
}

// MatchValues is the part of [Match] that concerns one term, on values taken from a resource
// before. For dates without a zone the two agree only where the query's zone is UTC.
func (t Term) MatchValues(has []Value) bool {
	if t.Modifier == "missing" {
		return slices.ContainsFunc(t.Values, func(v TermValue) bool { return v.Missing == (len(has) == 0) })
	}
	found := slices.ContainsFunc(t.Values, func(want TermValue) bool {
		return slices.ContainsFunc(has, func(v Value) bool { return t.matchValue(v, want) })
	})
	return found != (t.Modifier == "not")
}

func (t Term) matchValue(has Value, want TermValue) bool {
	switch t.Param.Type {
	case TypeToken:
		return matchToken(has, want)
	case TypeReference:
		return matchReference(has, want)
	case TypeDate:
		return compareDates(want.Prefix, has.Period, want.Period)
	case TypeNumber, TypeQuantity:
		return matchQuantity(has, want)
	case TypeString:
		return matchString(t.Modifier, has.Text, want.Text)
	case TypeURI:
		return has.Text == want.Text || unversioned(has.Text) == want.Text
	default:
		return false
	}
}

func matchToken(has Value, want TermValue) bool {
	if want.Coding.Code != "" && want.Coding.Code != has.Coding.Code {
		return false
	}
	return want.AnySystem || want.Coding.System == has.Coding.System || has.Implied && want.Coding.System == ""
}

func matchReference(has Value, want TermValue) bool {
	if want.Text != "" {
		return has.Text == want.Text || unversioned(has.Text) == want.Text
	}
	return has.Ref.ID == want.Ref.ID && (want.Ref.Type == "" || has.Ref.Type == want.Ref.Type)
}

// unversioned is a canonical URL without its "|version".
func unversioned(canonical string) string {
	url, _, _ := strings.Cut(canonical, "|")
	return url
}

func matchQuantity(has Value, want TermValue) bool {
	switch c := want.Coding; {
	case c.Code == "" && c.System == "":
	case !want.AnySystem && (has.Coding.System != c.System || c.Code != "" && has.Coding.Code != c.Code):
		return false
	case want.AnySystem && has.Coding.Code != c.Code && has.Text != c.Code:
		return false // number||unit: the code or what is written for people
	}
	number := newDecimal(has.Number).value
	if has.Comparator != "" {
		return compareBound(has.Comparator, want.Prefix, number, newDecimal(want.Number))
	}
	return compareNumbers(want.Prefix, number, newDecimal(want.Number))
}

// matchString: R4 §3.1.1.4.8, "equals or starts with", but for the modifiers.
func matchString(modifier, has, want string) bool {
	switch modifier {
	case "exact":
		return has == want
	case "contains":
		return strings.Contains(fold(has), fold(want))
	default:
		return strings.HasPrefix(fold(has), fold(want))
	}
}

// Fold takes case, accents and superfluous white space off a text, as string search
// compares it.
func Fold(s string) string { return fold(s) }

func fold(s string) string {
	if !ascii(s) {
		s = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.Mn, r) {
				return -1
			}
			return r
		}, norm.NFD.String(s))
	}
	return strings.Join(strings.Fields(strings.ToLower(s)), " ")
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}
