package fhir

import (
	"errors"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// parseValue reads one alternative of a term, escapes included.
func (t Term) parseValue(raw string, o QueryOptions) (TermValue, error) {
	v := TermValue{Raw: raw}
	s, err := unescape(raw)
	switch {
	case err != nil:
		return v, err
	case s == "":
		return v, errors.New("a value is missing")
	case len(s) > 4096:
		return v, errors.New("a value is too long")
	case t.Modifier == "missing":
		v.Missing = s == "true"
		if !v.Missing && s != "false" {
			err = errors.New("must be true or false")
		}
		return v, err
	}
	switch t.Param.Type {
	case TypeToken:
		err = v.parseToken(raw)
	case TypeReference:
		err = v.parseReference(t, s, o.Base)
	case TypeDate:
		err = v.parseDate(s, o)
	case TypeNumber:
		err = v.parseNumber(s)
	case TypeQuantity:
		err = v.parseQuantity(raw)
	default:
		v.Text = s
		if t.Param.Type == TypeString && t.Modifier != "exact" && fold(s) == "" {
			err = errors.New("nothing to look for")
		}
	}
	return v, err
}

func (v *TermValue) parseToken(raw string) error {
	parts, err := unescapeParts(raw)
	switch {
	case err != nil:
		return err
	case len(parts) == 1:
		v.AnySystem, v.Coding.Code = true, parts[0]
	case len(parts) == 2 && parts[0]+parts[1] != "":
		v.Coding.System, v.Coding.Code = parts[0], parts[1]
	default:
		return errors.New("not of the form system|code")
	}
	return nil
}

func unescapeParts(raw string) (parts []string, err error) {
	parts = splitEscaped(raw, '|')
	for i := range parts {
		if parts[i], err = unescape(parts[i]); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func (v *TermValue) parseReference(t Term, s, base string) error {
	if ValidID(s) {
		v.Ref = Ref{Type: t.Modifier, ID: s}
		if len(t.Param.Target) == 1 {
			v.Ref.Type = t.Param.Target[0]
		}
		return nil
	}
	if t.Modifier != "" {
		return errors.New("not an id, which is what a type modifier calls for")
	}
	ref, err := ParseRef(s, base)
	switch {
	case err == nil && ref.Version != "":
		return errors.New("a reference to a version is not supported")
	case err == nil && !t.Param.mayTarget(ref.Type):
		return errors.New("never refers to this type")
	case err == nil:
		v.Ref = ref
		return nil
	case errors.Is(err, ErrForeignRef) && t.Param.Target != nil && !t.Param.mayTarget("Patient"):
		// Definitions are referred to by URLs of their own; patients never are.
		v.Text = s
		return nil
	default:
		return err
	}
}

// cutPrefix takes the two letters of a comparison off; eq if there are none.
func (v *TermValue) cutPrefix(s string) (string, error) {
	v.Prefix = "eq"
	if len(s) < 2 || s[0] < 'a' || s[0] > 'z' {
		return s, nil
	}
	if !slices.Contains([]string{"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"}, s[:2]) {
		return "", errors.New("an unknown prefix")
	}
	v.Prefix = s[:2]
	return s[2:], nil
}

func (v *TermValue) parseDate(s string, o QueryOptions) error {
	s, err := v.cutPrefix(s)
	if err != nil {
		return err
	}
	if v.Period, err = ParseDate(s, o.Zone); err != nil {
		return err
	}
	if v.Prefix == "ap" && !o.Now.IsZero() {
		// R4 §3.1.1.4.7: a tenth of the gap between now and the date, either side.
		gap := max(o.Now.Sub(v.Period.From).Abs(), o.Now.Sub(v.Period.To).Abs()) / 10
		v.Period = Period{v.Period.From.Add(-gap), v.Period.To.Add(gap)}
	}
	return nil
}

func (v *TermValue) parseNumber(s string) error {
	s, err := v.cutPrefix(s)
	if err != nil {
		return err
	}
	if n := numberLength([]byte(s)); n == 0 || n != len(s) || !saneNumber([]byte(s)) {
		return errors.New("not a number")
	}
	v.Number = s
	return nil
}

func (v *TermValue) parseQuantity(raw string) error {
	parts, err := unescapeParts(raw)
	switch {
	case err != nil:
		return err
	case len(parts) == 1:
		v.AnySystem = true
	case len(parts) == 3:
		v.AnySystem = parts[1] == ""
		v.Coding.System, v.Coding.Code = parts[1], parts[2]
	default:
		return errors.New("not of the form number|system|code")
	}
	return v.parseNumber(parts[0])
}

// decimal is a number together with the half of its last digit's weight, by which
// FHIR understands how precise it was meant.
type decimal struct{ value, half *big.Rat }

// newDecimal reads a literal that the number checks have passed.
func newDecimal(literal string) decimal {
	value, ok := new(big.Rat).SetString(literal)
	if !ok {
		value = new(big.Rat)
	}
	mantissa, exponent, _ := strings.Cut(strings.ToLower(literal), "e")
	weight, _ := strconv.Atoi(exponent)
	if _, fraction, found := strings.Cut(mantissa, "."); found {
		weight -= len(fraction)
	}
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(weight, -weight))), nil)
	half := new(big.Rat).SetFrac(power, big.NewInt(2))
	if weight < 0 {
		half.SetFrac(big.NewInt(1), power.Mul(power, big.NewInt(2)))
	}
	return decimal{value, half}
}

// compareDates says whether a resource's period stands in the relation that the prefix asks for to the
// searched one (R4 §3.1.1.4.5).
func compareDates(prefix string, has, want Period) bool {
	// Beyond has any moment after want's end, or before its beginning?
	above := has.To.IsZero() || has.To.After(want.To)
	below := has.From.IsZero() || has.From.Before(want.From)
	switch prefix {
	case "eq":
		return has.Within(want)
	case "ne":
		return !has.Within(want)
	case "gt":
		return above
	case "lt":
		return below
	case "ge":
		return above || has.Within(want)
	case "le":
		return below || has.Within(want)
	case "sa":
		return !has.From.IsZero() && !has.From.Before(want.To)
	case "eb":
		return !has.To.IsZero() && !has.To.After(want.From)
	default: // ap
		return has.Overlaps(want)
	}
}

// compareNumbers likewise for numbers. The implicit precision counts for eq and ne alone
// (R4 §3.1.1.4.6).
func compareNumbers(prefix string, has *big.Rat, want decimal) bool {
	order := has.Cmp(want.value)
	within := func(margin *big.Rat) bool {
		low, high := new(big.Rat).Sub(want.value, margin), new(big.Rat).Add(want.value, margin)
		return has.Cmp(low) >= 0 && has.Cmp(high) < 0
	}
	switch prefix {
	case "eq":
		return within(want.half)
	case "ne":
		return !within(want.half)
	case "gt", "sa":
		return order > 0
	case "lt", "eb":
		return order < 0
	case "ge":
		return order >= 0
	case "le":
		return order <= 0
	default: // ap: a tenth either side
		tenth := new(big.Rat).Mul(want.value, big.NewRat(1, 10))
		return within(tenth.Abs(tenth)) || order == 0
	}
}

// compareBound is compareNumbers for a value of which only a bound is known ("< 5"): it matches
// what it could be, except that eq and ap need the value itself.
func compareBound(comparator, prefix string, bound *big.Rat, want decimal) bool {
	below := comparator == "<" || comparator == "<="
	open := comparator == "<" || comparator == ">"
	order := bound.Cmp(want.value)
	switch prefix {
	case "ne":
		return true
	case "lt", "le", "eb":
		return below || order < 0 || prefix == "le" && order == 0 && !open
	case "gt", "ge", "sa":
		return !below || order > 0 || prefix == "ge" && order == 0 && !open
	default:
		return false
	}
}
