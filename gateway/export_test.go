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
