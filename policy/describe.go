package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
)

// elements are the search parameters that tell a type's attributes. A type that
// is not in the table has those of the zero name.
type elements struct {
	codes, categories []string
	dates             []string // the first that has a value counts
	authors           []string
}

// byType lists what differs from the usual names. The names are R4's.
var byType = map[string]elements{
	"AllergyIntolerance":       {codes: []string{"code"}, categories: []string{"category"}, dates: []string{"date", "onset"}, authors: []string{"recorder", "asserter"}},
	"CarePlan":                 {codes: []string{"activity-code"}, categories: []string{"category"}, dates: []string{"date"}},
	"Condition":                {codes: []string{"code"}, categories: []string{"category"}, dates: []string{"onset-date", "recorded-date"}, authors: []string{"asserter"}},
	"Device":                   {codes: []string{"type"}},
	"DocumentReference":        {codes: []string{"type"}, categories: []string{"category"}, dates: []string{"date"}, authors: []string{"author"}},
	"Encounter":                {codes: []string{"type", "class"}, categories: []string{"class"}, dates: []string{"date"}, authors: []string{"practitioner"}},
	"ImagingStudy":             {codes: []string{"modality"}, dates: []string{"started"}, authors: []string{"interpreter"}},
	"Immunization":             {codes: []string{"vaccine-code"}, dates: []string{"date"}, authors: []string{"performer"}},
	"MedicationAdministration": {codes: []string{"code"}, dates: []string{"effective-time"}, authors: []string{"performer"}},
	"MedicationDispense":       {codes: []string{"code"}, categories: []string{"type"}, dates: []string{"whenhandedover", "whenprepared"}, authors: []string{"performer"}},
	"MedicationRequest":        {codes: []string{"code"}, categories: []string{"category"}, dates: []string{"authoredon"}, authors: []string{"requester"}},
	"MedicationStatement":      {codes: []string{"code"}, categories: []string{"category"}, dates: []string{"effective"}, authors: []string{"source"}},
	"QuestionnaireResponse":    {dates: []string{"authored"}, authors: []string{"author"}},
	"ServiceRequest":           {codes: []string{"code"}, categories: []string{"category"}, dates: []string{"occurrence", "authored"}, authors: []string{"requester"}},
	"Specimen":                 {codes: []string{"type"}, dates: []string{"collected"}, authors: []string{"collector"}},
	"Task":                     {codes: []string{"code"}, dates: []string{"authored-on"}, authors: []string{"requester"}},
	"":                         {codes: []string{"code"}, categories: []string{"category"}, dates: []string{"date"}, authors: []string{"performer", "author"}},
}

// Describe returns the attributes of a resource: what decisions are made on.
// updated is when this revision is made. A label that the resource bears in
// meta.security is kept, and can only make it more confidential.
//
// A resource that belongs to more than one patient, or to one who cannot be
// told, is an error. What a resource says in more ways than one (two authors, two
// encounters) is left out, so that a permit by it fails and a deny by it holds.
func Describe(r *fhir.Resource, labels *Labelling, updated time.Time) (Resource, error) {
	if r == nil || labels == nil {
		return Resource{}, errors.New("describe: no resource or no labelling")
	}
	out := Resource{Type: r.Type(), ID: r.ID(), Size: len(r.JSON()), Updated: updated.UnixMilli()}
	owner, ok, err := fhir.Owner(r)
	if err != nil {
		return Resource{}, fmt.Errorf("describe: %w", err)
	}
	if ok {
		out.Patient = owner.Current().String()
	}
	names, ok := byType[r.Type()]
	if !ok {
		names = byType[""]
	}
	out.Codes, out.Categories = codingsOf(r, names.codes), codingsOf(r, names.categories)
	out.From, out.To = clinicalTime(r, names.dates)
	if r.Type() == "SupplyDelivery" { // R4 has no search parameters for these
		describeSupply(r, &out)
	}
	out.Author = only(references(r, names.authors))
	out.Encounter = only(references(r, []string{"encounter", "context"}))
	if r.Type() == "Encounter" && r.ID() != "" {
		out.Encounter = "Encounter/" + r.ID()
	}
	l := labels.label(r)
	out.Conf, out.Sens = terms().Confidentiality[l.rank], l.sens
	return out, nil
}

// codingsOf returns the tokens of parameters, sorted; nil if there are none.
func codingsOf(r *fhir.Resource, params []string) []string {
	var out []string
	for _, p := range params {
		for _, c := range fhir.Codings(p, r) {
			if c.Code != "" {
				out = append(out, c.String())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// clinicalTime is the span of the first parameter that has a value.
func clinicalTime(r *fhir.Resource, params []string) (from, to int64) {
	for _, p := range params {
		values, err := fhir.Values(p, r)
		periods := lo.FilterMap(values, func(v fhir.Value, _ int) (fhir.Period, bool) { return v.Period, v.Period != fhir.Period{} })
		if err == nil && len(periods) > 0 {
			return around(periods)
		}
	}
	return 0, 0
}

// around is the span of periods as attributes hold it: 0 is no bound.
func around(periods []fhir.Period) (from, to int64) {
	first, last := periods[0].From, periods[0].To
	for _, p := range periods[1:] {
		if p.From.IsZero() || (!first.IsZero() && p.From.Before(first)) {
			first = p.From
		}
		if p.To.IsZero() || (!last.IsZero() && p.To.After(last)) {
			last = p.To
		}
	}
	return bound(first, -1), bound(last, 1)
}

// bound is a time in Unix ms, and 0 if there is none. The epoch itself, which
// would be taken for none, is told as the millisecond beside it, outward.
func bound(t time.Time, outward int64) int64 {
	if t.IsZero() {
		return 0
	}
	if ms := t.UnixMilli(); ms != 0 {
		return ms
	}
	return outward
}

// references returns the distinct references of parameters; what points outside
// is there as "".
func references(r *fhir.Resource, params []string) []string {
	var out []string
	for _, p := range params {
		values, err := fhir.Values(p, r)
		if err != nil {
			continue
		}
		for _, v := range values {
			ref := ""
			if v.Ref != (fhir.Ref{}) {
				ref = v.Ref.Current().String()
			}
			out = append(out, ref)
		}
	}
	return lo.Uniq(out)
}

func only(refs []string) string {
	if len(refs) == 1 {
		return refs[0]
	}
	return ""
}

// describeSupply reads type, item and time of a SupplyDelivery.
func describeSupply(r *fhir.Resource, out *Resource) {
	tree := r.Tree()
	for _, concept := range []any{tree["type"], object(tree["suppliedItem"])["itemCodeableConcept"]} {
		eachCoding(concept, func(c string) { out.Codes = append(out.Codes, c) })
	}
	slices.Sort(out.Codes)
	out.Codes = slices.Compact(out.Codes)
	text, _ := tree["occurrenceDateTime"].(string)
	if p, err := fhir.ParseDate(text, nil); err == nil {
		out.From, out.To = around([]fhir.Period{p})
	}
}
