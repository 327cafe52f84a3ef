package gateway

import (
	"slices"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/samber/lo"

	"github.com/wardkey/wardkey/fhir"
	"github.com/wardkey/wardkey/policy"
)

// Routes are all that the gateway serves.
func (g *Gateway) Routes() []*echo.Route { return g.fhirEcho.Routes() }

// Missed lists the search parameters that are answered from attributes although
// some resource has a value that its attributes have not.
func Missed(t testing.TB, all []*fhir.Resource) []string {
	t.Helper()
	var missed []string
	for _, r := range all {
		a, err := policy.Describe(r, policy.DefaultLabelling(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range fhir.Params(r.Type()) {
			f := answers(r.Type(), p.Name)
			if f == fieldNone || f == fieldUpdated || f == fieldLabels {
				continue
			}
			has := f.values(a)
			want, err := p.Values(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range want {
				if v.Kind == fhir.TypeReference && v.Ref == (fhir.Ref{}) || v.Kind == fhir.TypeToken && v.Coding.Code == "" {
					continue // points outside, or says nothing that can be asked for
				}
				if !slices.ContainsFunc(has, func(h fhir.Value) bool { return same(h, v) }) {
					missed = append(missed, r.Type()+"."+p.Name)
				}
			}
		}
	}
	return lo.Uniq(missed)
}

func same(a, b fhir.Value) bool {
	switch a.Kind {
	case fhir.TypeToken:
		return a.Coding.System == b.Coding.System && a.Coding.Code == b.Coding.Code
	case fhir.TypeReference:
		return a.Ref.Current() == b.Ref.Current()
	default:
		return a.Period.From.Equal(b.Period.From) && a.Period.To.Equal(b.Period.To)
	}
}

// CheckTarget is checkTarget.
func CheckTarget(target string) error { return checkTarget(target) }

// OnceEach is onceEach.
func OnceEach(data []byte) error { return onceEach(data) }

// Clip is clip.
func Clip(s string) string { return clip(s) }

// Parts is byReason on one group with items of these reasons and one denial: the
// reasons of each part, and how many denials they count.
func Parts(reasons ...policy.Reason) (parts [][]policy.Reason, denied uint64) {
	gr := &group{patient: "Patient/p1", denied: 1}
	for _, r := range reasons {
		gr.items = append(gr.items, &candidate{decision: policy.Decision{Permit: true, Reason: r}})
	}
	for _, part := range byReason([]*group{gr}) {
		denied += part.denied
		parts = append(parts, lo.Map(part.items, func(c *candidate, _ int) policy.Reason { return c.decision.Reason }))
	}
	return parts, denied
}
