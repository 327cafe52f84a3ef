package fhir

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/samber/lo"
)

// Query is a search as [ParseQuery] understood it: everything in it is supported,
// and nothing that was asked for is missing.
type Query struct {
	Type      string
	Terms     []Term // joined by AND; sorted by parameter, those of one parameter as they came
	Sort      []SortKey
	Count     int    // _count, 1 or more; 0 if not stated
	CountOnly bool   // _count=0: how many there are is all that is asked (R4 §3.1.1.5.2)
	Page      string // _page as it came: where to go on, a word between a server and itself

	Zone *time.Location // of dates without a zone; UTC if nil
	Base string         // where absolute references are ours
}

// SortKey is one key of _sort.
type SortKey struct {
	Param      Param
	Descending bool
}

// Term is one parameter of a search.
type Term struct {
	Param    Param
	Modifier string      // "", not, exact, contains, missing, or a resource type
	Values   []TermValue // joined by OR; never empty
}

// TermValue is one of the alternatives of a term. Which fields are set depends on the
// parameter's type.
type TermValue struct {
	Raw       string // as in the request, escapes and prefix included
	Prefix    string // date, number, quantity: eq, ne, gt, lt, ge, le, sa, eb, ap
	Missing   bool   // with the modifier missing
	Coding    Coding // token: an empty code stands for any; quantity: the unit
	AnySystem bool   // token, quantity: written without a bar, so every system will do
	Text      string // string, uri; reference to elsewhere
	Period    Period // date; already widened for ap
	Ref       Ref    // reference; Type is "" if only an id was given
	Number    string // number, quantity
}

// QueryOptions bounds a search. The zero value is fit for use.
type QueryOptions struct {
	Base      string         // our own base URL, for absolute references; none if ""
	Zone      *time.Location // of dates without a zone; UTC if nil
	Now       time.Time      // what "ap" is relative to; without it ap means eq with overlap
	MaxCount  int            // a larger _count is lowered to it; 1000 if zero
	MaxTerms  int            // parameters in one search; 64 if zero
	MaxValues int            // alternatives in all; 1000 if zero
	Ignore    []string       // parameters that the caller sees to, such as _format
}

// QueryError says which parameter of a search cannot be served, and why. It does
// not repeat the value, which may be about a patient.
type QueryError struct{ Param, Reason string }

func (e *QueryError) Error() string {
	return fmt.Sprintf("search parameter %q: %s", e.Param, e.Reason)
}

func unknownParam(typ, name string) *QueryError {
	if p := registry()[typ][name]; p != nil && p.unsupported() != "" {
		return &QueryError{name, p.unsupported()}
	}
	return &QueryError{name, "unknown for " + typ}
}

// ParseQuery reads the parameters of a search on one type: those of [Params] with
// the modifiers :missing, :not (token), :exact and :contains (string) and :Type (reference), and
// _sort, _count and _page. Whatever else there is (other modifiers, chains, _has, _include)
// is an error and never ignored, because a search that drops a condition tells more than
// was asked for. The error is a [*QueryError].
func ParseQuery(typ string, values url.Values, o QueryOptions) (Query, error) {
	if !KnownType(typ) {
		return Query{}, &QueryError{"", "not a resource type of R4"}
	}
	o.MaxCount = lo.CoalesceOrEmpty(o.MaxCount, 1000)
	o.MaxTerms = lo.CoalesceOrEmpty(o.MaxTerms, 64)
	o.MaxValues = lo.CoalesceOrEmpty(o.MaxValues, 1000)
	q := Query{Type: typ, Zone: o.Zone, Base: o.Base}
	alternatives := 0
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all := values[name]
		if slices.Contains(o.Ignore, name) {
			continue
		}
		if control, err := q.control(name, all, o); control || err != nil {
			if err != nil {
				return Query{}, err
			}
			continue
		}
		for _, value := range all {
			t, err := parseTerm(typ, name, value, o)
			if err != nil {
				return Query{}, err
			}
			q.Terms = append(q.Terms, t)
			if alternatives += len(t.Values); alternatives > o.MaxValues {
				return Query{}, &QueryError{name, fmt.Sprintf("more than %d values in one search", o.MaxValues)}
			}
			if len(q.Terms) > o.MaxTerms {
				return Query{}, &QueryError{name, fmt.Sprintf("more than %d parameters in one search", o.MaxTerms)}
			}
		}
	}
	return q, nil
}

// control reads the parameters that say how to answer rather than what to find.
func (q *Query) control(name string, all []string, o QueryOptions) (bool, error) {
	if name != "_count" && name != "_sort" && name != "_page" {
		return false, nil
	}
	if len(all) != 1 || all[0] == "" {
		return true, &QueryError{name, "must have exactly one value"}
	}
	switch value := all[0]; name {
	case "_count":
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return true, &QueryError{name, "not a number of resources"}
		}
		q.Count, q.CountOnly = min(int(n), o.MaxCount), n == 0
	case "_sort":
		for key := range strings.SplitSeq(value, ",") {
			bare, descending := strings.CutPrefix(key, "-")
			p, ok := LookupParam(q.Type, bare)
			if !ok {
				return true, &QueryError{name, "not a list of supported search parameters"}
			}
			q.Sort = append(q.Sort, SortKey{p, descending})
		}
	case "_page":
		if len(value) > 1024 {
			return true, &QueryError{name, "not one of our pages"}
		}
		q.Page = value
	}
	return true, nil
}

func parseTerm(typ, name, value string, o QueryOptions) (Term, error) {
	bare, modifier, modified := strings.Cut(name, ":")
	p, ok := LookupParam(typ, bare)
	if !ok {
		if first, _, chained := strings.Cut(name, "."); chained {
			if _, ok := LookupParam(typ, strings.SplitN(first, ":", 2)[0]); ok {
				return Term{}, &QueryError{name, "chained parameters are not supported"}
			}
		}
		return Term{}, unknownParam(typ, bare)
	}
	t := Term{Param: p, Modifier: modifier}
	if modified {
		if err := checkModifier(p, modifier); err != nil {
			return Term{}, &QueryError{name, err.Error()}
		}
	}
	for _, raw := range splitEscaped(value, ',') {
		v, err := t.parseValue(raw, o)
		if err != nil {
			return Term{}, &QueryError{name, err.Error()}
		}
		t.Values = append(t.Values, v)
	}
	return t, nil
}

func checkModifier(p Param, modifier string) error {
	switch {
	case modifier == "missing",
		modifier == "not" && p.Type == TypeToken,
		(modifier == "exact" || modifier == "contains") && p.Type == TypeString:
		return nil
	case p.Type != TypeReference || !strings.Contains(modifier, ".") && !KnownType(modifier):
		return fmt.Errorf("this modifier is not supported on a parameter of type %s", p.Type)
	case strings.Contains(modifier, "."):
		return errors.New("chained parameters are not supported")
	case !p.mayTarget(modifier):
		return errors.New("never refers to this type")
	}
	return nil
}

func (p Param) mayTarget(typ string) bool { return p.Target == nil || slices.Contains(p.Target, typ) }

// splitEscaped divides at separators that no backslash precedes. The parts keep
// their escapes.
func splitEscaped(s string, separator byte) []string {
	var parts []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// unescape resolves the escapes of R4 §3.1.1.3.9: \, \| \$ \\ and no other.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			if i++; i == len(s) || !strings.ContainsRune(`,|$\`, rune(s[i])) {
				return "", errors.New("a backslash that escapes nothing")
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// Values renders the query again, so that ParseQuery makes the same of it. Parameters that the
// caller had ignored are not there.
func (q Query) Values() url.Values {
	values := url.Values{}
	for _, t := range q.Terms {
		name := t.Param.Name
		if t.Modifier != "" {
			name += ":" + t.Modifier
		}
		values.Add(name, strings.Join(lo.Map(t.Values, func(v TermValue, _ int) string { return v.Raw }), ","))
	}
	if len(q.Sort) > 0 {
		values.Set("_sort", strings.Join(lo.Map(q.Sort, func(k SortKey, _ int) string {
			return lo.Ternary(k.Descending, "-", "") + k.Param.Name
		}), ","))
	}
	if q.Count > 0 || q.CountOnly {
		values.Set("_count", strconv.Itoa(q.Count))
	}
	if q.Page != "" {
		values.Set("_page", q.Page)
	}
	return values
}

// Term returns the query's terms for a parameter.
func (q Query) Term(param string) []Term {
	return lo.Filter(q.Terms, func(t Term, _ int) bool { return t.Param.Name == param })
}

// Order compares two resources by _sort, for [slices.SortStableFunc]: resources without the
// value come last, either way. Of several values the least counts, or the greatest when
// descending.
func (q Query) Order(a, b *Resource) int {
	for _, key := range q.Sort {
		x, y := key.of(a, q), key.of(b, q)
		switch {
		case x == nil && y == nil:
			continue
		case x == nil:
			return 1
		case y == nil:
			return -1
		}
		c := x.compare(*y)
		if key.Descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// sortValue is what resources are ordered by: of the three fields the parameter's type
// uses one.
type sortValue struct {
	time   time.Time
	number *decimal
	text   string
}

func (v sortValue) compare(w sortValue) int {
	if v.number != nil && w.number != nil {
		return v.number.value.Cmp(w.number.value)
	}
	return cmp.Or(v.time.Compare(w.time), cmp.Compare(v.text, w.text))
}

func (k SortKey) of(r *Resource, q Query) *sortValue {
	vs, err := k.Param.values(r, q.Zone, q.Base)
	if err != nil || len(vs) == 0 {
		return nil
	}
	keys := lo.Map(vs, func(v Value, _ int) sortValue {
		switch v.Kind {
		case TypeDate:
			return sortValue{time: lo.Ternary(k.Descending && !v.Period.To.IsZero(), v.Period.To, v.Period.From)}
		case TypeNumber, TypeQuantity:
			n := newDecimal(v.Number)
			return sortValue{number: &n}
		case TypeReference:
			return sortValue{text: lo.Ternary(v.Text != "", v.Text, v.Ref.String())}
		case TypeToken:
			return sortValue{text: v.Coding.Code}
		default:
			return sortValue{text: fold(v.Text)}
		}
	})
	if k.Descending {
		return new(slices.MaxFunc(keys, sortValue.compare))
	}
	return new(slices.MinFunc(keys, sortValue.compare))
}
